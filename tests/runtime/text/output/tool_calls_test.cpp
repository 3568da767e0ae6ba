// Outputs of each family of models and the OpenAI message that they stand for
// (tests/data/chat/tool_calls.json), whole, byte by byte and cut at random.

#include "tests/runtime/text/output/parsed_output.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace greenroom::text {
namespace {

using Json = nlohmann::ordered_json;

OutputFormat format_of(const std::string& family, const Json& example) {
    static const std::map<std::string, OutputFormat> kFormats = {
        {"kimi-k2", OutputFormat::kimi_k2},
        {"deepseek-v3", OutputFormat::deepseek_v3},
        {"deepseek-v3.1", OutputFormat::deepseek_v3_1},
        {"deepseek-v3.2", OutputFormat::deepseek_v3_2},
        {"qwen3", OutputFormat::hermes},
        {"qwen3.5", OutputFormat::qwen3_coder},
        {"gpt-oss", OutputFormat::harmony},
        {"llama4", OutputFormat::llama4},
        {"mixtral", OutputFormat::instruct},
    };
    return example.contains("only_if") ? OutputFormat::mistral : kFormats.at(family);
}

struct Example {
    std::string name;
    OutputFormat format;
    Json json;
    std::string tools;  // may be empty

    OutputCase output() const {
        OutputCase output;
        output.format = format;
        output.options.prompt_suffix = json["prompt_suffix"].get_ref<const std::string&>();
        if (!tools.empty()) output.options.tools = tools;
        if (json["expected"]["finish_reason"] == "length") output.end = OutputEnd::cut_off;
        return output;
    }
    std::string_view raw() const { return json["raw"].get_ref<const std::string&>(); }
};

std::vector<Example> load_examples() {
    const Json families = Json::parse(std::ifstream(test::test_data("chat/tool_calls.json")))["families"];
    std::vector<Example> examples;
    for (const auto& [family, of_family] : families.items())
        for (const Json& example : of_family["examples"])
            examples.push_back({family + " " + example["id"].get<std::string>(), format_of(family, example),
                                example, of_family.contains("tools") ? of_family["tools"].dump() : ""});
    return examples;
}

std::string text_or_empty(const Json& value) { return value.is_null() ? "" : value.get<std::string>(); }

void expect_message(const ParsedOutput& parsed, const Json& expected) {
    EXPECT_EQ(parsed.message.content, text_or_empty(expected["content"]));
    EXPECT_EQ(parsed.message.reasoning_content, text_or_empty(expected["reasoning_content"]));
    const Json& calls = expected["tool_calls"];
    ASSERT_EQ(parsed.message.tool_calls.size(), calls.size()) << testing::PrintToString(parsed);
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const ToolCall& call = parsed.message.tool_calls[i];
        EXPECT_EQ(call.id, calls[i].value("id", ""));
        EXPECT_EQ(call.name, calls[i]["function"]["name"]);
        // Order and spelling too: the expected texts are spelled as the models did.
        EXPECT_EQ(call.arguments, calls[i]["function"]["arguments"]);
    }
    static const std::map<std::string, FinishReason> kReasons = {{"stop", FinishReason::stop},
                                                                 {"tool_calls", FinishReason::tool_calls},
                                                                 {"length", FinishReason::length}};
    EXPECT_EQ(parsed.finish_reason, kReasons.at(expected["finish_reason"]));
}

TEST(ToolCalls, ExamplesOfAllFamiliesAreRead) {
    const std::vector<Example> examples = load_examples();
    EXPECT_GE(examples.size(), 50U);
    for (const Example& example : examples) {
        SCOPED_TRACE(example.name);
        expect_message(parse(example.output(), example.raw()), example.json["expected"]);
    }
}

TEST(ToolCalls, ExamplesReadTheSameHoweverTheyAreCut) {
    const unsigned seed = std::random_device{}();
    std::mt19937 random(seed);
    for (const Example& example : load_examples()) {
        SCOPED_TRACE(example.name + ", seed " + std::to_string(seed));
        const OutputCase output = example.output();
        const ParsedOutput whole = parse(output, example.raw());
        EXPECT_EQ(whole.deltas, whole.message);
        EXPECT_EQ(parse(output, cut_into_bytes(example.raw())), whole);
        for (int i = 0; i < 200; ++i) EXPECT_EQ(parse(output, cut_at_random(example.raw(), random)), whole);
    }
}

// A model that stops before the token that would end its answer.
TEST(ToolCalls, ExamplesWithoutTheirEndMarkerReadTheSame) {
    const Json families = Json::parse(std::ifstream(test::test_data("chat/tool_calls.json")))["families"];
    for (const Example& example : load_examples()) {
        SCOPED_TRACE(example.name);
        std::string_view raw = example.raw();
        const std::string family = example.name.substr(0, example.name.find(' '));
        for (const Json& stop : families[family]["stop"])
            if (raw.ends_with(stop.get_ref<const std::string&>()))
                raw.remove_suffix(stop.get_ref<const std::string&>().size());
        expect_message(parse(example.output(), raw), example.json["expected"]);
    }
}

}  // namespace
}  // namespace greenroom::text
