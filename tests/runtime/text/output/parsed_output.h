#pragma once

// An output as OutputParser reads it, however it is cut into pieces.

#include "runtime/text/output/output_parser.h"

#include <algorithm>
#include <ostream>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greenroom::text {

inline void PrintTo(const OutputMessage& message, std::ostream* out) {
    *out << "{reasoning \"" << message.reasoning_content << "\", content \"" << message.content << '"';
    for (const ToolCall& call : message.tool_calls)
        *out << ", call " << call.id << ' ' << call.name << ' ' << call.arguments;
    *out << '}';
}

struct ParsedOutput {
    OutputMessage message;
    OutputMessage deltas;  // what push() and finish() returned, put together
    FinishReason finish_reason = FinishReason::stop;

    bool operator==(const ParsedOutput&) const = default;
};

inline void PrintTo(const ParsedOutput& parsed, std::ostream* out) { PrintTo(parsed.message, out); }

struct OutputCase {
    OutputFormat format = OutputFormat::plain;
    OutputParserOptions options;
    OutputEnd end = OutputEnd::complete;
};

inline ParsedOutput parse(const OutputCase& output, const std::vector<std::string_view>& pieces) {
    OutputParser parser(output.format, output.options);
    ParsedOutput parsed;
    const auto add = [&parsed](OutputMessage part) {
        parsed.deltas.reasoning_content += part.reasoning_content;
        parsed.deltas.content += part.content;
        std::move(part.tool_calls.begin(), part.tool_calls.end(),
                  std::back_inserter(parsed.deltas.tool_calls));
    };
    for (const std::string_view piece : pieces) add(parser.push(piece));
    add(parser.finish(output.end));
    parsed.message = parser.message();
    parsed.finish_reason = parser.finish_reason();
    return parsed;
}

inline ParsedOutput parse(const OutputCase& output, std::string_view text) {
    return parse(output, std::vector<std::string_view>{text});
}

inline std::vector<std::string_view> cut_into_bytes(std::string_view text) {
    std::vector<std::string_view> pieces;
    for (std::size_t at = 0; at < text.size(); ++at) pieces.push_back(text.substr(at, 1));
    return pieces;
}

inline std::vector<std::string_view> cut_at_random(std::string_view text, std::mt19937& random) {
    std::vector<std::string_view> pieces;
    const std::size_t n_most = 1 + random() % 24;
    while (!text.empty()) {
        pieces.push_back(text.substr(0, random() % (n_most + 1)));
        text.remove_prefix(pieces.back().size());
    }
    return pieces;
}

}  // namespace greenroom::text
