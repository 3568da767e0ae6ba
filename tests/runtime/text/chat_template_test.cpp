#include "runtime/text/chat_template.h"

#include "quant/base/error.h"
#include "quant/gguf.h"
#include "quant/gguf_writer.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/json.h"
#include "tests/runtime/text/jinja/chat_cases.h"
#include "tests/runtime/text/small_vocabulary.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <initializer_list>
#include <string>
#include <vector>

namespace greenroom::text {
namespace {

using jinja::Dict;
using jinja::Value;
using nlohmann::json;

std::vector<json> load_cases(const std::string& name) {
    std::ifstream file(test::test_data("chat/" + name));
    return json::parse(file)["cases"].get<std::vector<json>>();
}

// A case's variables as a conversation.
Conversation conversation_of(const Value& context) {
    Conversation conversation;
    Dict others;
    for (const Dict::Entry& entry : context.get<Dict>()->entries()) {
        const std::string key = entry.key.get<jinja::String>()->bytes;
        if (key == "messages")
            conversation.messages = entry.value.get<jinja::Sequence>()->items;
        else if (key == "tools")
            conversation.tools = entry.value;
        else if (key == "add_generation_prompt")
            conversation.add_generation_prompt = entry.value.truth();
        else
            others.set(key, entry.value);
    }
    conversation.variables = jinja::make_dict(std::move(others));
    return conversation;
}

Conversation conversation(std::string_view messages, std::string_view tools = "null") {
    Conversation made;
    made.messages = jinja::parse_json(messages).get<jinja::Sequence>()->items;
    made.tools = jinja::parse_json(tools);
    return made;
}

std::string render(const std::string& source, const Conversation& conversation) {
    return ChatTemplate(source, "t").render(conversation, {});
}

class VendorTemplate : public testing::TestWithParam<const char*> {};

TEST_P(VendorTemplate, WritesConversationsAsTransformersDoes) {
    const test::ChatCases reference = test::load_chat_cases(GetParam());
    const ChatTemplate chat_template(test::read_chat_file(GetParam() + std::string(".jinja")), "t");
    for (const test::ChatCase& one : reference.cases) {
        if (!one.expected || one.id.ends_with("_str")) continue;  // strings: see the next test
        SCOPED_TRACE(one.id);
        EXPECT_EQ(chat_template.render(conversation_of(one.context), reference.now), *one.expected);
        EXPECT_EQ(chat_template.render_variables(one.context, reference.now), *one.expected);
    }
}

TEST_P(VendorTemplate, GetsArgumentsAsTheObjectThatItNeedsOrElseAsTheString) {
    const jinja::DateTime now = test::load_chat_cases(GetParam()).now;
    const ChatTemplate chat_template(test::read_chat_file(GetParam() + std::string(".jinja")), "t");
    int n_cases = 0;
    for (const json& one : load_cases("arguments.cases.json")) {
        if (one["template"] != GetParam()) continue;
        SCOPED_TRACE(one["case"].get<std::string>());
        const Value context = test::load_chat_case(GetParam(), one["case"].get<std::string>()).context;
        const auto rendered = [&] { return chat_template.render(conversation_of(context), now); };
        if (one.contains("expected"))
            EXPECT_EQ(rendered(), one["expected"].get<std::string>());
        else
            EXPECT_THROW(rendered(), Error);
        ++n_cases;
    }
    EXPECT_EQ(n_cases, 6);
}

INSTANTIATE_TEST_SUITE_P(Vendors, VendorTemplate, testing::ValuesIn(test::kChatTemplates),
                         test::parameter_name);

// [{"role": "assistant", "tool_calls": …}] with these arguments, written as JSON.
Conversation call_with(const std::string& arguments) {
    return conversation(R"([{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": )" +
                        arguments + "}}]}]");
}

TEST(ChatTemplate, OnlyArgumentsThatAreAnObjectAreParsed) {
    const std::string shown = "{{ messages[0].tool_calls[0].function.arguments|tojson }}";
    EXPECT_EQ(render(shown, call_with(R"("{\"n\": 1.0, \"a\": 12345678901234567890}")")),
              R"({"n": 1.0, "a": 12345678901234567890})");
    EXPECT_EQ(render(shown, call_with(R"("")")), "{}");
    EXPECT_EQ(render(shown, call_with(R"({"a": 1})")), R"({"a": 1})");
    EXPECT_EQ(render(shown, call_with(R"("[1]")")), R"("[1]")");
    EXPECT_EQ(render(shown, call_with(R"("{\"cut")")), R"("{\"cut")");
    EXPECT_EQ(render(shown, call_with("null")), "null");
}

TEST(ChatTemplate, CallsWithoutTheWordFunctionHaveArgumentsToo) {
    EXPECT_EQ(render("{{ messages[0].tool_calls[0].arguments.a }}",
                     conversation(R"([{"tool_calls": [{"name": "f", "arguments": "{\"a\": 7}"}]}])")),
              "7");
}

TEST(ChatTemplate, OfTwoFailuresTheOneWithObjectsIsTold) {
    test::expect_error(ErrorKind::bad_input, {"t:1: the object fails"}, [] {
        render(
            "{% if messages[0].tool_calls[0].function.arguments is string %}{{ raise_exception('the string "
            "fails') }}{% else %}{{ raise_exception('the object fails') }}{% endif %}",
            call_with(R"("{}")"));
    });
}

TEST(ChatTemplate, OddMessagesAreTheTemplatesAffair) {
    for (const char* messages :
         {"[]", "[1]", R"([{"tool_calls": 1}])", R"([{"tool_calls": [1, {"function": 2}]}])",
          R"([{"tool_calls": [{"function": {"arguments": 3}}, {}]}])"})
        EXPECT_EQ(render("{{ messages|tojson }}", conversation(messages)), messages);
}

TEST(ChatTemplate, VariablesOfAConversationAreThoseOfTransformers) {
    Conversation said = conversation(R"([{"role": "user", "content": "Hi"}])", R"([{"name": "f"}])");
    said.variables =
        jinja::parse_json(R"({"enable_thinking": false, "messages": "never", "bos_token": "<b>"})");
    const std::string source =
        "{{ [messages, tools, documents, add_generation_prompt, enable_thinking, bos_token]|tojson }}";
    EXPECT_EQ(ChatTemplate(source, "t", {"<s>", "</s>"}).render(said, {}),
              R"([[{"role": "user", "content": "Hi"}], [{"name": "f"}], null, true, false, "<b>"])");
    said.add_generation_prompt = false;
    EXPECT_EQ(render("{{ add_generation_prompt }}", said), "False");
}

TEST(ChatTemplate, MessagesCanBeMadeWithoutJson) {
    Conversation said;
    said.messages = {chat_message("system", "Be \"brief\"."), chat_message("user", "a\xFF")};
    EXPECT_EQ(render("{{ messages|tojson }}", said),
              "[{\"role\": \"system\", \"content\": \"Be \\\"brief\\\".\"}, "
              "{\"role\": \"user\", \"content\": \"a\uFFFD\"}]");
}

struct Entry {
    const char* key;
    const char* source;
};

// A file with a small vocabulary and these templates.
struct ModelFile {
    explicit ModelFile(std::initializer_list<Entry> templates)
        : image([&templates] {
              quant::GgufWriter writer;
              test::SmallVocabulary::sentencepiece().write(writer);
              for (const auto [key, source] : templates) writer.add_string(key, source);
              return writer.serialize();
          }()),
          gguf(quant::Gguf::parse(image.data(), image.size(), "small.gguf")),
          tokenizer(Tokenizer::load(gguf)) {}

    ChatTemplate load(std::string_view name = {}) const { return ChatTemplate::load(gguf, tokenizer, name); }

    const std::vector<std::byte> image;
    const quant::Gguf gguf;
    const Tokenizer tokenizer;
};

TEST(ChatTemplateOfAFile, KnowsTheModelsBosAndEos) {
    const ModelFile file(
        {{"tokenizer.chat_template", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"}});
    const Conversation hello = conversation(R"([{"content": "Hi"}])");
    EXPECT_EQ(file.load().render(hello, {}), "<s>Hi</s>");
    EXPECT_EQ(file.load().render_variables(jinja::parse_json(R"({"messages": [{}], "eos_token": "."})"), {}),
              "<s>.");
}

TEST(ChatTemplateOfAFile, ConversationsWithToolsHaveATemplateOfTheirOwn) {
    const ModelFile file({{"tokenizer.chat_template", "plain"},
                          {"tokenizer.chat_template.tool_use", "tools"},
                          {"tokenizer.chat_template.rag", "rag"}});
    EXPECT_EQ(file.load().render(conversation("[]"), {}), "plain");
    EXPECT_EQ(file.load().render(conversation("[]", "[]"), {}), "plain");
    EXPECT_EQ(file.load().render(conversation("[]", R"([{"name": "f"}])"), {}), "tools");
    EXPECT_EQ(file.load("rag").render(conversation("[]", R"([{"name": "f"}])"), {}), "rag");
}

TEST(ChatTemplateOfAFile, MissingOnesAreToldWithWhatThereIsAndWhatToDo) {
    test::expect_error(ErrorKind::bad_input,
                       {"small.gguf: tokenizer.chat_template is missing", "(templates with a name: none)",
                        "--chat-template-file FILE.jinja"},
                       [] { ModelFile({}).load(); });
    test::expect_error(ErrorKind::bad_input,
                       {"small.gguf: tokenizer.chat_template.rag is missing", "with a name: tool_use)"}, [] {
                           ModelFile({{"tokenizer.chat_template.tool_use", ""}}).load("rag");
                       });
}

TEST(ChatTemplateOfAFile, BrokenOnesAreToldWithFileKeyAndLine) {
    test::expect_error(ErrorKind::bad_input, {"small.gguf: tokenizer.chat_template:2: "}, [] {
        ModelFile({{"tokenizer.chat_template", "\n{% if %}"}}).load();
    });
}

// Text and ids both as the vendor's own tools make them.
TEST(ChatTemplate, PromptsOfMixtralHaveTheIdsOfItsVendor) {
    const auto gguf = quant::Gguf::open(test::test_data("tokenizer/mixtral/vocab.gguf").string());
    const Tokenizer tokenizer = Tokenizer::load(gguf);
    const ChatTemplate mixtral(test::read_chat_file("mixtral-8x7b.jinja"), "t", BosEosTexts::of(tokenizer));
    int n_cases = 0;
    for (const json& one : load_cases("e2e.cases.json")) {
        if (one["tokenizer"] != "mixtral") continue;
        const Value context = test::load_chat_case("mixtral-8x7b", one["case"].get<std::string>()).context;
        EXPECT_EQ(tokenizer.encode(mixtral.render(conversation_of(context), {}), kPromptEncoding),
                  one["ids_nonlegacy"].get<std::vector<TokenId>>())
            << one["case"];
        ++n_cases;
    }
    EXPECT_EQ(n_cases, 4);
}

}  // namespace
}  // namespace greenroom::text
