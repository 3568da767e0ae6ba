// Outputs that break their form: nothing is lost, nothing throws, time stays linear, and the cuts still do
// not matter.

#include "tests/runtime/text/output/parsed_output.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <fstream>
#include <random>
#include <string>
#include <vector>

namespace greenroom::text {
namespace {

constexpr OutputFormat kFormats[] = {
    OutputFormat::plain,         OutputFormat::instruct,    OutputFormat::mistral,
    OutputFormat::kimi_k2,       OutputFormat::deepseek_v3, OutputFormat::deepseek_v3_1,
    OutputFormat::deepseek_v3_2, OutputFormat::hermes,      OutputFormat::qwen3_coder,
    OutputFormat::harmony,       OutputFormat::llama4,
};

OutputCase case_of(OutputFormat format) { return {format, {}, OutputEnd::complete}; }

struct Malformed {
    OutputFormat format;
    std::string text;  // all of which is content
};

TEST(MalformedOutput, IsContentAsItStands) {
    const std::vector<Malformed> cases = {
        {OutputFormat::hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\":"},
        {OutputFormat::hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": \"{\"}\n</tool_call>"},
        {OutputFormat::hermes, "<tool_call>\n{\"arguments\": {}}\n</tool_call>"},
        {OutputFormat::hermes, "<tool_call>\n{\"name\": 5, \"arguments\": {}}\n</tool_call>"},
        {OutputFormat::hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": [1]}\n</tool_call>"},
        {OutputFormat::hermes, "<tool_call>\n{\"name\": \"f\"} or so\n</tool_call>"},
        {OutputFormat::hermes, "<tool_call>\n{\"name\": \"f\"}{\"name\": \"g\"}\n</tool_call>"},
        {OutputFormat::hermes, "<tool_call></tool_call>"},
        {OutputFormat::hermes, "<tool_call><tool_call><tool_call>"},
        {OutputFormat::hermes, "a </tool_call> b"},
        {OutputFormat::kimi_k2, "<|tool_calls_section_begin|><|tool_calls_section_end|>"},
        {OutputFormat::kimi_k2, "<|tool_calls_section_begin|>text<|tool_calls_section_end|>"},
        {OutputFormat::kimi_k2, "<|tool_calls_section_begin|>  <|tool_calls_section_begin|>"},
        {OutputFormat::kimi_k2,
         "<|tool_calls_section_begin|> <|tool_call_begin|>f:0<|tool_call_end|> <|tool_calls_section_end|>"},
        {OutputFormat::kimi_k2, "<|tool_call_begin|>:0<|tool_call_argument_begin|>{}<|tool_call_end|>"},
        {OutputFormat::kimi_k2, "<|tool_call_begin|>f:0<|tool_call_argument_begin|>[]<|tool_call_end|>"},
        {OutputFormat::kimi_k2,
         "<|tool_call_begin|>f:0<|tool_call_argument_begin|>{<|tool_call_argument_begin|>}"},
        {OutputFormat::deepseek_v3,
         "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n{}<｜tool▁call▁end｜>"},
        {OutputFormat::deepseek_v3_1,
         "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>f<｜tool▁sep｜>{}```<｜tool▁call▁end｜>"},
        {OutputFormat::deepseek_v3_2,
         "<｜DSML｜function_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\" "
         "string=\"false\">x</｜DSML｜"
         "parameter>\n</｜DSML｜invoke>\n</｜DSML｜function_calls>"},
        {OutputFormat::deepseek_v3_2,
         "<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"a\">x</｜DSML｜parameter>\n"
         "</｜DSML｜invoke>"},
        {OutputFormat::qwen3_coder, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"},
        {OutputFormat::qwen3_coder, "<tool_call>\n<function=>\n</function>\n</tool_call>"},
        {OutputFormat::qwen3_coder, "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>"},
        {OutputFormat::qwen3_coder, "<tool_call>\n<function=f>\ngarbage</function>\n</tool_call>"},
        {OutputFormat::mistral, "[TOOL_CALLS]"},
        {OutputFormat::mistral, "[TOOL_CALLS] []"},
        {OutputFormat::mistral, "[TOOL_CALLS] [{\"name\": \"f\"}, 5]"},
        {OutputFormat::mistral, "[TOOL_CALLS] [{\"name\": \"f\"}"},
        {OutputFormat::llama4, "<|python_start|>print(1)<|python_end|>"},
        {OutputFormat::llama4, "{\"name\": \"f\", \"parameters\": {}"},
        {OutputFormat::llama4, "[f(a=1), g(b=]"},
        {OutputFormat::llama4, "[f(1, 2)]"},
        {OutputFormat::llama4, "; {"},
        {OutputFormat::harmony, "<|channel|>commentary to=functions.f<|message|>{\"a\":"},
        {OutputFormat::harmony, "Hello"},
        {OutputFormat::harmony, "<|channel|>final"},
    };
    for (const Malformed& malformed : cases) {
        const ParsedOutput parsed = parse(case_of(malformed.format), malformed.text);
        EXPECT_EQ(parsed.message, (OutputMessage{"", malformed.text, {}})) << malformed.text;
        EXPECT_EQ(parsed.finish_reason, FinishReason::stop);
        EXPECT_EQ(parse(case_of(malformed.format), cut_into_bytes(malformed.text)), parsed) << malformed.text;
    }
}

TEST(MalformedOutput, GoodCallsBesideABadOneAreCalls) {
    const ParsedOutput parsed = parse(
        case_of(OutputFormat::kimi_k2),
        "<|tool_calls_section_begin|><|tool_call_begin|>f:0<|tool_call_argument_begin|>{<|tool_call_end|>"
        "<|tool_call_begin|>g:1<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>");
    EXPECT_EQ(
        parsed.message.content,
        "<|tool_calls_section_begin|><|tool_call_begin|>f:0<|tool_call_argument_begin|>{<|tool_call_end|>");
    EXPECT_EQ(parsed.message.tool_calls, (std::vector<ToolCall>{{"g:1", "g", "{}"}}));
}

TEST(MalformedOutput, CallThatIsCompleteButForItsEndMarkerIsACall) {
    const ParsedOutput two = parse(case_of(OutputFormat::hermes),
                                   "<tool_call>{\"name\": \"f\"}\n<tool_call>{\"name\": \"g\"}<|im_end|>");
    EXPECT_EQ(two.message.content, "");
    EXPECT_EQ(two.message.tool_calls.size(), 2U);
    const ParsedOutput harmony =
        parse(case_of(OutputFormat::harmony), "<|channel|>commentary to=functions.f<|message|>{}");
    EXPECT_EQ(harmony.message.tool_calls.size(), 1U);
}

// Every character of the input that is no whitespace, markers aside, is somewhere in the message.
std::vector<std::string> all_examples() {
    const auto families =
        nlohmann::json::parse(std::ifstream(test::test_data("chat/tool_calls.json")))["families"];
    std::vector<std::string> examples;
    for (const auto& family : families)
        for (const auto& example : family["examples"]) examples.push_back(example["raw"]);
    return examples;
}

std::string spliced(const std::vector<std::string>& examples, std::mt19937& random) {
    std::string text;
    for (std::size_t n = 1 + random() % 3; n > 0; --n) {
        const std::string& example = examples[random() % examples.size()];
        const std::size_t begin = random() % 3 == 0 ? random() % example.size() : 0;
        text += example.substr(begin, random() % 3 == 0 ? random() % example.size() : std::string::npos);
    }
    for (std::size_t n = random() % 4; n > 0 && !text.empty(); --n) {
        static const std::string kMarks = "{}[]\"<>|;:,\\/ \n";
        text[random() % text.size()] = kMarks[random() % kMarks.size()];
    }
    return text;
}

TEST(MalformedOutput, ReadsTheSameHoweverItIsCut) {
    const unsigned seed = std::random_device{}();
    std::mt19937 random(seed);
    const std::vector<std::string> examples = all_examples();
    for (int i = 0; i < 3000; ++i) {
        const std::string text = spliced(examples, random);
        for (const OutputFormat format : kFormats) {
            OutputCase output = case_of(format);
            constexpr std::string_view kSuffixes[] = {"", "<think>\n", "</think>", "<|start|>assistant"};
            output.options.prompt_suffix = kSuffixes[random() % 4];
            output.end = random() % 2 == 0 ? OutputEnd::complete : OutputEnd::cut_off;
            const ParsedOutput whole = parse(output, text);
            ASSERT_EQ(whole.deltas, whole.message) << text << "\nseed " << seed;
            ASSERT_EQ(parse(output, cut_into_bytes(text)), whole)
                << text << "\nformat " << static_cast<int>(format) << ", seed " << seed;
            ASSERT_EQ(parse(output, cut_at_random(text, random)), whole)
                << text << "\nformat " << static_cast<int>(format) << ", seed " << seed;
        }
    }
}

TEST(MalformedOutput, NothingIsLostWhereThereIsNoCall) {
    const unsigned seed = std::random_device{}();
    std::mt19937 random(seed);
    const std::vector<std::string> examples = all_examples();
    const auto without_blanks = [](std::string text) {
        std::erase_if(text, [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; });
        return text;
    };
    for (int i = 0; i < 3000; ++i) {
        const std::string text =
            "x" + spliced(examples, random) + "x";  // no <think>, and no end marker at the end
        for (const OutputFormat format : kFormats) {
            if (format == OutputFormat::harmony) continue;  // its headers are no text
            const OutputMessage message = parse(case_of(format), text).message;
            if (!message.tool_calls.empty()) continue;
            ASSERT_EQ(without_blanks(message.content), without_blanks(text))
                << "format " << static_cast<int>(format) << ", seed " << seed;
        }
    }
}

TEST(MalformedOutput, LongOutputsTakeLinearTime) {
    const std::vector<Malformed> units = {
        {OutputFormat::plain, "<think>"},
        {OutputFormat::plain, "\n"},
        {OutputFormat::hermes, "<"},
        {OutputFormat::hermes, "<tool_call>"},
        {OutputFormat::hermes, "</tool_call>"},
        {OutputFormat::hermes, "<tool_call>{\"name\": \""},
        {OutputFormat::hermes, "<tool_call>{\"name\": \"f\"}</tool_call>"},
        {OutputFormat::kimi_k2, "<|tool_call_begin|>"},
        {OutputFormat::deepseek_v3, "<｜"},
        {OutputFormat::qwen3_coder, "<function=f>"},
        {OutputFormat::qwen3_coder, "<parameter=a>"},
        {OutputFormat::qwen3_coder, "<function=f><parameter=a>1</parameter><parameter=b>"},
        {OutputFormat::qwen3_coder,
         "<tool_call><function=f><parameter=a>1</parameter></function></tool_call>"},
        {OutputFormat::llama4, "{\"name\": \"f\"}"},
        {OutputFormat::llama4, "[f(a=1)]; "},
        {OutputFormat::llama4, "[f(a=[[[["},
        {OutputFormat::llama4, "{\"a\":"},
        {OutputFormat::mistral, "[TOOL_CALLS] [{\"name\": \"f\"}]"},
        {OutputFormat::harmony, "<|channel|>"},
        {OutputFormat::harmony, "<|start|>"},
        {OutputFormat::harmony, "<|channel|>commentary to=functions.f<|message|>{\"a\": \"<|end|>"},
    };
    constexpr std::size_t kBytes = 1 << 20;
    for (const auto& [format, unit] : units) {
        std::string text;
        while (text.size() < kBytes) text += unit;
        std::vector<std::string_view> pieces;
        for (std::size_t at = 0; at < text.size(); at += 7)
            pieces.push_back(std::string_view(text).substr(at, 7));
        const auto start = std::chrono::steady_clock::now();
        EXPECT_EQ(parse(case_of(format), pieces), parse(case_of(format), text)) << unit;
        const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
        // A few tenths of a second, more under a sanitizer; in quadratic time it would be an hour.
        EXPECT_LT(seconds.count(), 30) << unit;
    }
}

TEST(MalformedOutput, CallThatNeverEndsBecomesContentInTheEnd) {
    OutputParser parser(OutputFormat::hermes);
    const std::string chunk(1 << 16, 'x');
    std::size_t n_pushed = 0;
    std::size_t n_content = parser.push("<tool_call>{\"name\": \"").content.size();
    for (; n_content == 0 && n_pushed < (8U << 20); n_pushed += chunk.size())
        n_content += parser.push(chunk).content.size();
    EXPECT_GE(n_content, std::size_t{4} << 20);
    EXPECT_LE(n_pushed, (4U << 20) + 2 * chunk.size());
    EXPECT_EQ(parser.push(chunk).content, chunk);
}

}  // namespace
}  // namespace greenroom::text
