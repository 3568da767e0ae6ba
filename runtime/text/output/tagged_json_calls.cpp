#include "runtime/text/output/tagged_json_calls.h"

#include "quant/base/error.h"
#include "runtime/text/output/json_text.h"

#include <utility>

namespace greenroom::text {
namespace {

using Headers = std::span<const std::string>;

std::optional<ToolCall> make_call(std::string id, std::string_view name, std::string_view arguments) {
    if (name.empty() || !is_json_object(arguments)) return std::nullopt;
    return ToolCall{std::move(id), std::string(name), std::string(trimmed(arguments))};
}

// functions.NAME:INDEX is the id, and the template writes it back.
std::optional<ToolCall> make_kimi_call(Headers headers, std::string_view json) {
    const std::string_view id = trimmed(headers[0]);
    std::string_view name = id;
    constexpr std::string_view kPrefix = "functions.";
    if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
    return make_call(std::string(id), name.substr(0, name.rfind(':')), json);
}

std::optional<ToolCall> make_deepseek_v3_call(Headers headers, std::string_view json) {
    return make_call("", trimmed(headers[1]), json);
}

std::optional<ToolCall> make_deepseek_v3_1_call(Headers headers, std::string_view json) {
    return make_call("", trimmed(headers[0]), json);
}

std::optional<ToolCall> make_hermes_call(Headers /*headers*/, std::string_view json) {
    return call_from_json(json);
}

}  // namespace

TaggedJsonSyntax tagged_json_syntax(OutputFormat format) {
    switch (format) {
        case OutputFormat::kimi_k2:
            return {"<|tool_calls_section_begin|>",
                    "<|tool_calls_section_end|>",
                    "<|tool_call_begin|>",
                    "<|tool_call_end|>",
                    {"<|tool_call_argument_begin|>"},
                    "",
                    make_kimi_call};
        case OutputFormat::deepseek_v3:
            return {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>",        "<｜tool▁call▁begin｜>",
                    "<｜tool▁call▁end｜>",    {"<｜tool▁sep｜>", "```json"}, "```",
                    make_deepseek_v3_call};
        case OutputFormat::deepseek_v3_1:
            return {"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>",
                    "<｜tool▁call▁end｜>",    {"<｜tool▁sep｜>"},     "",
                    make_deepseek_v3_1_call};
        case OutputFormat::hermes:
            return {"", "", "<tool_call>", "</tool_call>", {}, "", make_hermes_call};
        default:
            fail(ErrorKind::internal, "no JSON between markers in output format {}",
                 static_cast<int>(format));
    }
}

TaggedJsonReader::TaggedJsonReader(TaggedJsonSyntax syntax) : syntax_(std::move(syntax)) {
    header_markers_.emplace_back();
    for (const std::string_view marker :
         {syntax_.call_end, syntax_.call_begin, syntax_.section_begin, syntax_.section_end})
        if (!marker.empty()) header_markers_.push_back(marker);
}

void TaggedJsonReader::begin() {
    headers_.clear();
    header_.clear();
    json_ = {};
    json_text_.clear();
    trailer_.clear();
    if (!syntax_.separators.empty()) header_markers_[0] = syntax_.separators[0];
}

std::span<const std::string_view> TaggedJsonReader::markers() const noexcept {
    const std::span<const std::string_view> all = header_markers_;
    return headers_.size() < syntax_.separators.size() ? all : all.subspan(1);
}

CallReader::Status TaggedJsonReader::read(MarkerScanner& scanner) {
    for (;;) {
        const bool in_header = headers_.size() < syntax_.separators.size();
        const MarkerScanner::Piece piece = scanner.next(markers());
        if (piece.empty()) return scanner.full() ? Status::failed : Status::more;
        if (in_header && piece.marker == 0) {
            headers_.push_back(std::exchange(header_, {}));
            if (headers_.size() < syntax_.separators.size())
                header_markers_[0] = syntax_.separators[headers_.size()];
        } else if (piece.is_marker() && !json_.in_string()) {
            const bool is_call_end = piece.marker == (in_header ? 1 : 0);
            if (!is_call_end) scanner.put_back(piece.text.size());
            return finish();
        } else if (in_header) {
            header_ += piece.text;
        } else {
            const std::size_t n_taken = json_.push(piece.text);
            json_text_ += piece.text.substr(0, n_taken);
            trailer_ += piece.text.substr(n_taken);
        }
    }
}

CallReader::Status TaggedJsonReader::finish() {
    const std::string_view trailer = trimmed(trailer_);
    if (!json_.complete() || (!trailer.empty() && trailer != syntax_.trailer)) return Status::failed;
    std::optional<ToolCall> call = syntax_.make_call(headers_, json_text_);
    if (!call) return Status::failed;
    calls_.clear();
    calls_.push_back(std::move(*call));
    return Status::done;
}

std::optional<ToolCall> call_from_json(std::string_view object) {
    const auto members = json_members(object);
    if (!members) return std::nullopt;
    ToolCall call;
    call.arguments = "{}";
    for (const JsonMember& member : *members) {
        if (member.key == "name" || member.key == "id") {
            std::optional<std::string> text = json_string_value(member.value);
            if (!text) return std::nullopt;
            (member.key == "id" ? call.id : call.name) = std::move(*text);
        } else if (member.key == "arguments" || member.key == "parameters") {
            const std::optional<std::string> text = json_string_value(member.value);
            call.arguments = text ? *text : std::string(member.value);
            if (!is_json_object(call.arguments)) return std::nullopt;
        }
    }
    if (call.name.empty()) return std::nullopt;
    return call;
}

}  // namespace greenroom::text
