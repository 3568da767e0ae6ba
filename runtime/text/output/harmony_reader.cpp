#include "runtime/text/output/harmony_reader.h"

#include "runtime/text/output/json_text.h"

#include <array>

namespace greenroom::text {
namespace {

constexpr std::size_t kMostHeaderBytes = 512;

// Those that end a message come first: in its text the others mean nothing.
constexpr std::array<std::string_view, 7> kMarkers = {
    "<|end|>", "<|return|>", "<|call|>", "<|start|>", "<|channel|>", "<|constrain|>", "<|message|>"};
constexpr std::size_t kEndMarkers = 4;
constexpr std::size_t kStart = 3;
constexpr std::size_t kChannel = 4;
constexpr std::size_t kConstrain = 5;
constexpr std::size_t kMessage = 6;

constexpr std::span<const std::string_view> end_markers() {
    return std::span<const std::string_view>(kMarkers).first(kEndMarkers);
}

// The word of the text that begins with the prefix, without it.
std::string_view word_behind(std::string_view text, std::string_view prefix) {
    for (text = trimmed(text); !text.empty(); text = trimmed(text)) {
        const std::string_view word = text.substr(0, text.find_first_of(" \t\r\n"));
        if (word.starts_with(prefix)) return word.substr(prefix.size());
        text.remove_prefix(word.size());
    }
    return {};
}

}  // namespace

HarmonyReader::HarmonyReader(std::string_view prompt_suffix) {
    begin_header(0);
    const std::size_t start = prompt_suffix.rfind(kMarkers[kStart]);
    if (start == std::string_view::npos) return;
    OutputMessage of_the_prompt;
    push(prompt_suffix.substr(start), of_the_prompt);
    if (state_ == State::header || state_ == State::call) scanner_.hold();
}

void HarmonyReader::push(std::string_view text, OutputMessage& out) {
    scanner_.push(text);
    for (bool more = true; more;) {
        switch (state_) {
            case State::header:
                more = read_header(out);
                break;
            case State::reasoning:
                more = read_text(out.reasoning_content);
                break;
            case State::content:
                more = read_text(out.content);
                break;
            case State::call:
                more = read_call(out);
                break;
        }
    }
}

void HarmonyReader::finish(OutputEnd end, OutputMessage& out) {
    scanner_.finish();
    push({}, out);
    if (state_ == State::call) return end_call(0, out);
    // A header that was cut off is no text.
    const bool is_header = end == OutputEnd::cut_off && header_part_ != HeaderPart::role;
    if (state_ == State::header && !is_header && !trimmed(scanner_.held()).empty())
        out.content += scanner_.held();
}

bool HarmonyReader::read_header(OutputMessage& out) {
    const MarkerScanner::Piece piece = scanner_.next(kMarkers);
    if (piece.empty()) return false;
    const std::string_view header = scanner_.held();
    if (piece.marker == kChannel) {
        header_part_ = HeaderPart::channel;
    } else if (piece.marker == kConstrain) {
        header_part_ = HeaderPart::constraint;
    } else if (piece.marker == kMessage) {
        end_header();
        return true;
    } else if (piece.is_marker()) {
        // A message without text, or no header at all.
        const std::string_view text = header.substr(0, header.size() - piece.text.size());
        if (!trimmed(text).empty()) out.content += text;
        begin_header(piece.marker == kStart ? piece.text.size() : 0);
        return true;
    } else if (header_part_ == HeaderPart::role) {
        role_ += piece.text;
    } else if (header_part_ == HeaderPart::channel) {
        channel_ += piece.text;
    }
    if (header.size() > kMostHeaderBytes) {
        out.content += header;
        scanner_.release();
        state_ = State::content;
    }
    return true;
}

// The markers that end the text, or its beginning.
bool HarmonyReader::read_text(std::string& part) {
    const MarkerScanner::Piece piece = scanner_.next(end_markers());
    if (piece.is_marker())
        end_message(piece);
    else
        part += piece.text;
    return !piece.empty();
}

bool HarmonyReader::read_call(OutputMessage& out) {
    const MarkerScanner::Piece piece = scanner_.next(end_markers());
    if (piece.empty() && scanner_.full()) {
        end_call(0, out);
        state_ = State::content;
        return true;
    }
    if (piece.is_marker() && !json_.in_string()) {
        end_call(piece.text.size(), out);
        end_message(piece);
    } else {
        json_.push(piece.text);
        arguments_ += piece.text;
    }
    return !piece.empty();
}

void HarmonyReader::begin_header(std::size_t n_marker_bytes) {
    scanner_.hold(n_marker_bytes);
    state_ = State::header;
    header_part_ = HeaderPart::role;
    role_.clear();
    channel_.clear();
}

void HarmonyReader::end_header() {
    constexpr std::string_view kFunction = "to=functions.";
    function_ = word_behind(channel_, kFunction);
    if (function_.empty()) function_ = word_behind(role_, kFunction);
    if (!function_.empty()) {
        json_ = {};
        arguments_.clear();
        state_ = State::call;
        return;
    }
    scanner_.release();
    state_ = word_behind(channel_, "") == "analysis" ? State::reasoning : State::content;
}

void HarmonyReader::end_call(std::size_t n_marker_bytes, OutputMessage& out) {
    const std::string_view call = scanner_.held();
    if (is_json_object(arguments_))
        out.tool_calls.push_back({"", function_, std::string(trimmed(arguments_))});
    else
        out.content += call.substr(0, call.size() - n_marker_bytes);
    scanner_.release();
}

// Behind <|start|> stands the role; behind the others a header may begin without it.
void HarmonyReader::end_message(const MarkerScanner::Piece& marker) {
    begin_header(marker.marker == kStart ? marker.text.size() : 0);
}

}  // namespace greenroom::text
