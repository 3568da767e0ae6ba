// libFuzzer target: any text at all is an output in every format, and reads the same however it is cut. The
// first byte chooses the format, the second what the prompt ended with and how the output ends, the third
// where it is cut. Run it with `tools/dev fuzz`; output_corpus_test.cpp replays the seeds in every build.

#include "runtime/text/output/output_parser.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>

namespace greenroom::text {
namespace {

constexpr std::size_t kFormats = 11;  // of OutputFormat
constexpr std::string_view kPromptSuffixes[] = {"", "<think>\n", "</think>\n\n", "<|start|>assistant"};
constexpr std::string_view kTools =
    R"([{"name": "f", "parameters": {"properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}}])";

struct Output {
    OutputFormat format;
    OutputParserOptions options;
    OutputEnd end;
};

void require(bool condition) {
    if (!condition) __builtin_trap();
}

// Hands over n_bytes at a time; 0: all at once.
OutputMessage read(const Output& output, std::string_view text, std::size_t n_bytes) {
    OutputParser parser(output.format, output.options);
    OutputMessage sum;
    const auto add = [&sum](const OutputMessage& part) {
        sum.reasoning_content += part.reasoning_content;
        sum.content += part.content;
        sum.tool_calls.insert(sum.tool_calls.end(), part.tool_calls.begin(), part.tool_calls.end());
    };
    if (n_bytes == 0) n_bytes = std::max<std::size_t>(text.size(), 1);
    for (; !text.empty(); text.remove_prefix(std::min(n_bytes, text.size())))
        add(parser.push(text.substr(0, n_bytes)));
    add(parser.finish(output.end));
    require(sum == parser.message());
    for (const ToolCall& call : sum.tool_calls)
        require(!call.name.empty() && call.arguments.starts_with('{') && call.arguments.ends_with('}'));
    return sum;
}

}  // namespace
}  // namespace greenroom::text

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace greenroom::text;
    if (size < 3) return 0;
    Output output;
    output.format = static_cast<OutputFormat>(data[0] % kFormats);
    output.options.prompt_suffix = kPromptSuffixes[data[1] % std::size(kPromptSuffixes)];
    if ((data[1] & 0x40U) != 0) output.options.tools = kTools;
    output.end = (data[1] & 0x80U) != 0 ? OutputEnd::cut_off : OutputEnd::complete;
    const std::string_view text(reinterpret_cast<const char*>(data + 3), size - 3);
    const OutputMessage whole = read(output, text, 0);
    require(read(output, text, 1) == whole);
    require(read(output, text, 2 + data[2] % 16) == whole);
    return 0;
}
