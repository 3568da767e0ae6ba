// What the parser does beyond the examples of each family: what it streams and when, whitespace, end markers.

#include "runtime/text/output/output_parser.h"

#include "tests/runtime/text/output/parsed_output.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace greenroom::text {
namespace {

OutputMessage message(OutputFormat format, std::string_view text, const OutputParserOptions& options = {}) {
    return parse({format, options, OutputEnd::complete}, text).message;
}

TEST(OutputParser, ContentIsGivenOutAsSoonAsItCanBeNoMarker) {
    OutputParser parser(OutputFormat::hermes);
    EXPECT_EQ(parser.push("Hello").content, "Hello");
    EXPECT_EQ(parser.push(", <b").content, ", <b");
    EXPECT_EQ(parser.push(" <tool").content, "");
    EXPECT_EQ(parser.push("_x").content, " <tool_x");
    EXPECT_EQ(parser.push(" \n").content, "");
    EXPECT_EQ(parser.push("end").content, " \nend");
    EXPECT_TRUE(parser.finish(OutputEnd::complete).empty());
}

TEST(OutputParser, ReasoningIsGivenOutWhileItIsWritten) {
    OutputParser parser(OutputFormat::deepseek_v3_1, {"<think>", {}, {}});
    EXPECT_EQ(parser.push("\nStep").reasoning_content, "Step");
    EXPECT_EQ(parser.push(" one").reasoning_content, " one");
    EXPECT_TRUE(parser.push("\n</think").empty());
    EXPECT_EQ(parser.push(">\n4").content, "4");
}

TEST(OutputParser, CallIsGivenOutWhenItIsComplete) {
    OutputParser parser(OutputFormat::kimi_k2);
    EXPECT_TRUE(parser.push("<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0").empty());
    EXPECT_TRUE(parser.push("<|tool_call_argument_begin|>{\"a\": 1.0}").empty());
    const OutputMessage call = parser.push("<|tool_call_end|>");
    ASSERT_EQ(call.tool_calls.size(), 1U);
    EXPECT_EQ(call.tool_calls[0], (ToolCall{"functions.f:0", "f", "{\"a\": 1.0}"}));
    EXPECT_TRUE(parser.push("<|tool_calls_section_end|><|im_end|>").empty());
    EXPECT_TRUE(parser.finish(OutputEnd::complete).empty());
    EXPECT_EQ(parser.finish_reason(), FinishReason::tool_calls);
}

TEST(OutputParser, AnswerThatOnlyBeginsLikeACallIsNotHeldBackForLong) {
    OutputParser parser(OutputFormat::llama4);
    EXPECT_TRUE(parser.push("[lin").empty());
    EXPECT_EQ(parser.push("k](https://example.org)").content, "[link](https://example.org)");
    OutputParser code(OutputFormat::llama4);
    EXPECT_TRUE(code.push("{").empty());
    EXPECT_EQ(code.push(" int i = 0; }").content, "{ int i = 0; }");
}

TEST(OutputParser, PlainOutputsKeepTheirWhitespace) {
    EXPECT_EQ(message(OutputFormat::plain, "\n  Hi \n\n").content, "\n  Hi \n\n");
    EXPECT_EQ(message(OutputFormat::hermes, " Hi\n<|im_end|>").content, " Hi\n");
    EXPECT_EQ(message(OutputFormat::instruct, "  Hi</s>").content, " Hi");
}

TEST(OutputParser, WhitespaceBesideMarkersIsLeftOutButNotWithinContent) {
    const OutputMessage around =
        message(OutputFormat::hermes,
                "A\n<tool_call>{\"name\": \"f\"}</tool_call>\n<tool_call>{\"name\": \"g\"}</tool_call> B\n");
    EXPECT_EQ(around.content, "A\n\n B\n");
    EXPECT_EQ(around.tool_calls.size(), 2U);
    EXPECT_EQ(message(OutputFormat::hermes, "<tool_call>{\"name\": \"f\"}</tool_call>\nB").content, "B");
}

TEST(OutputParser, OfALongRunOfWhitespaceOnlyTheEndIsHeldBack) {
    const std::string blank(1000, ' ');
    OutputParser parser(OutputFormat::hermes);
    std::string content = parser.push("A" + blank).content;
    EXPECT_EQ(content.size(), 1001 - 64U);
    content += parser.push("B").content;
    EXPECT_EQ(content, "A" + blank + "B");
}

TEST(OutputParser, ThinkCountsOnlyAtTheStart) {
    EXPECT_EQ(message(OutputFormat::plain, " <think>a</think> b").reasoning_content, "a");
    const OutputMessage talk = message(OutputFormat::plain, "Use <think>a</think>.");
    EXPECT_EQ(talk.content, "Use <think>a</think>.");
    EXPECT_EQ(talk.reasoning_content, "");
    EXPECT_EQ(message(OutputFormat::plain, "<think>a</think><think>b</think>").content, "<think>b</think>");
}

TEST(OutputParser, CallTokensEndReasoningThatWasNotClosed) {
    const OutputMessage kimi = message(OutputFormat::kimi_k2,
                                       "I "
                                       "call.<|tool_calls_section_begin|><|tool_call_begin|>f:0<|tool_call_"
                                       "argument_begin|>{}<|tool_call_end|>",
                                       {"<think>", {}, {}});
    EXPECT_EQ(kimi.reasoning_content, "I call.");
    EXPECT_EQ(kimi.tool_calls.size(), 1U);
    // Where the marker is text like any other, reasoning may speak of it.
    const OutputMessage qwen =
        message(OutputFormat::hermes, "A <tool_call> is</think>b", {"<think>\n", {}, {}});
    EXPECT_EQ(qwen.reasoning_content, "A <tool_call> is");
    EXPECT_EQ(qwen.content, "b");
}

TEST(OutputParser, EndMarkerCountsAtTheVeryEndOnly) {
    EXPECT_EQ(message(OutputFormat::hermes, "a<|im_end|>b<|im_end|>").content, "a<|im_end|>b");
    EXPECT_EQ(message(OutputFormat::plain, "a<|end_of_turn|>").content, "a<|end_of_turn|>");
    EXPECT_EQ(
        message(OutputFormat::plain, "a<|end_of_turn|>", {"", {}, {"<|end", "<|end_of_turn|>", ""}}).content,
        "a<|end_of_turn|>");
    EXPECT_EQ(message(OutputFormat::plain, "a<eot>", {"", {}, {"<eot>"}}).content, "a");
}

TEST(OutputParser, ToolsDecideWhatIsACallWhereThereIsNoMarker) {
    const std::string call = R"({"name": "get_weather", "parameters": {}})";
    EXPECT_EQ(message(OutputFormat::llama4, call).tool_calls.size(), 1U);
    EXPECT_EQ(message(OutputFormat::llama4, call, {"", R"([{"name": "get_weather"}])", {}}).tool_calls.size(),
              1U);
    EXPECT_EQ(message(OutputFormat::llama4, call, {"", "[]", {}}).content, call);
    test::expect_error(ErrorKind::bad_input, {"tools", "array"}, [] {
        OutputParser(OutputFormat::llama4, {"", "{}", {}});
    });
}

TEST(OutputParser, Qwen3CoderCallsMayLackTheTagAroundThem) {
    const OutputMessage parsed =
        message(OutputFormat::qwen3_coder,
                "Go.\n<function=ls>\n<parameter=dir>\n/\n</parameter>\n</function>\n</tool_call>");
    EXPECT_EQ(parsed.content, "Go.");
    ASSERT_EQ(parsed.tool_calls.size(), 1U);
    EXPECT_EQ(parsed.tool_calls[0].arguments, R"({"dir": "/"})");
}

TEST(OutputParser, EndTagWithinAValueIsText) {
    const OutputMessage parsed = message(OutputFormat::qwen3_coder,
                                         "<tool_call>\n<function=write>\n<parameter=text>\n<a></parameter> "
                                         "b\n</parameter>\n</function>\n</tool_call>");
    ASSERT_EQ(parsed.tool_calls.size(), 1U);
    EXPECT_EQ(parsed.tool_calls[0].arguments, R"({"text": "<a></parameter> b"})");
}

TEST(OutputParser, HarmonyPromptMayHaveBegunTheMessage) {
    const OutputParserOptions in_final = {"<|end|><|start|>assistant<|channel|>final<|message|>", {}, {}};
    EXPECT_EQ(message(OutputFormat::harmony, "Hi<|return|>", in_final).content, "Hi");
    const OutputParserOptions in_analysis = {"<|start|>assistant<|channel|>analysis<|message|>", {}, {}};
    EXPECT_EQ(message(OutputFormat::harmony, "Hm<|end|><|channel|>final<|message|>Hi", in_analysis),
              (OutputMessage{"Hm", "Hi", {}}));
}

TEST(OutputParser, HarmonyHeaderThatIsCutOffIsNoText) {
    const OutputCase cut = {OutputFormat::harmony, {"<|start|>assistant", {}, {}}, OutputEnd::cut_off};
    EXPECT_TRUE(parse(cut, "<|channel|>anal").message.empty());
    EXPECT_EQ(parse(cut, "Hello there").message.content, "Hello there");
}

TEST(OutputParser, HarmonyOutputWithoutHeadersIsContent) {
    const std::string text(2000, 'x');
    OutputParser parser(OutputFormat::harmony, {"<|start|>assistant", {}, {}});
    EXPECT_EQ(parser.push(text).content, text);
    EXPECT_EQ(parser.push("y").content, "y");
}

}  // namespace
}  // namespace greenroom::text
