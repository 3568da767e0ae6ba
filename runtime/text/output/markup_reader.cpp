#include "runtime/text/output/markup_reader.h"

#include "runtime/text/output/json_text.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace greenroom::text {
namespace {

constexpr std::string_view kThink = "<think>";
constexpr std::string_view kEndThink = "</think>";
constexpr std::array<std::string_view, 2> kBrackets = {"{", "["};
constexpr std::size_t kMostBytesBetween = 256;

}  // namespace

MarkupReader::MarkupReader(CallSyntax syntax, std::string_view prompt_suffix)
    : syntax_(std::move(syntax)),
      content_markers_{kBrackets[0], kBrackets[1], kThink},
      reasoning_markers_{kEndThink},
      bare_call_may_begin_(syntax_.bare) {
    for (const std::string_view marker : {syntax_.section_begin, syntax_.section_end, syntax_.call_begin})
        if (!marker.empty()) content_markers_.push_back(marker);
    if (syntax_.ends_reasoning)
        reasoning_markers_.insert(reasoning_markers_.end(), {syntax_.section_begin, syntax_.call_begin});
    const std::string_view prompt = trimmed(prompt_suffix);
    if (prompt.ends_with(kThink)) {
        state_ = State::reasoning;
        reasoning_.mark();
    }
    if (prompt.ends_with(kEndThink)) content_.mark();
}

void MarkupReader::push(std::string_view text, OutputMessage& out) {
    scanner_.push(text);
    for (bool more = true; more;) {
        switch (state_) {
            case State::reasoning:
                more = read_reasoning(out);
                break;
            case State::content:
                more = read_content(out);
                break;
            case State::call:
                more = read_call(out);
                break;
        }
    }
}

void MarkupReader::finish(OutputEnd /*end*/, OutputMessage& out) {
    scanner_.finish();
    push({}, out);
    if (state_ == State::call) end_call(syntax_.reader->finish(), out);
    if (!trimmed(between_).empty()) flush_between(out);
    content_.finish(out.content);
    reasoning_.mark();
    reasoning_.finish(out.reasoning_content);
}

bool MarkupReader::read_reasoning(OutputMessage& out) {
    const MarkerScanner::Piece piece = scanner_.next(reasoning_markers_);
    if (piece.is_marker()) {
        if (piece.text != kEndThink) scanner_.put_back(piece.text.size());
        content_.mark();
        state_ = State::content;
    } else {
        reasoning_.push(piece.text, out.reasoning_content);
    }
    return !piece.empty();
}

bool MarkupReader::read_content(OutputMessage& out) {
    const MarkerScanner::Piece piece = scanner_.next(content_markers());
    if (piece.is_marker())
        take_content_marker(piece.text, out);
    else
        take_content_text(piece.text, out);
    return !piece.empty();
}

// Those that count here.
std::span<const std::string_view> MarkupReader::content_markers() const noexcept {
    const std::span<const std::string_view> all = content_markers_;
    if (bare_call_may_begin_) return all;
    return all.subspan(at_start_ ? kBrackets.size() : kBrackets.size() + 1);
}

bool MarkupReader::read_call(OutputMessage& out) {
    const CallReader::Status status = syntax_.reader->read(scanner_);
    if (status == CallReader::Status::more) return false;
    end_call(status, out);
    return true;
}

void MarkupReader::take_content_text(std::string_view text, OutputMessage& out) {
    const std::string_view separators = syntax_.bare && keeps_between_ ? " \t\r\n;" : " \t\r\n";
    std::size_t n_blank = std::min(text.find_first_not_of(separators), text.size());
    if (keeps_between_) {
        n_blank = std::min(n_blank, kMostBytesBetween - between_.size());
        between_ += text.substr(0, n_blank);
    } else {
        content_.push(text.substr(0, n_blank), out.content);
    }
    if (n_blank < text.size()) add_content(text.substr(n_blank), out);
}

void MarkupReader::take_content_marker(std::string_view marker, OutputMessage& out) {
    if (marker == kThink && !at_start_) {
        add_content(marker, out);
    } else if (marker == kThink) {
        reasoning_.mark();
        content_.mark();
        state_ = State::reasoning;
    } else if (marker == syntax_.call_begin) {
        begin_call(marker.size());
    } else if (marker == kBrackets[0] || marker == kBrackets[1]) {
        scanner_.put_back(marker.size());
        begin_call(0);
    } else if (marker == syntax_.section_begin) {
        flush_between(out);
        between_ = marker;
        keeps_between_ = true;
        section_has_call_ = false;
        bare_call_may_begin_ = syntax_.bare;
    } else {
        if (section_has_call_ && trimmed(between_).empty()) {
            between_.clear();
            content_.mark();
        } else {
            add_content(marker, out);
        }
        keeps_between_ = false;
        section_has_call_ = false;
        bare_call_may_begin_ = syntax_.bare;
    }
    at_start_ = false;
}

void MarkupReader::begin_call(std::size_t n_marker_bytes) {
    scanner_.hold(n_marker_bytes);
    syntax_.reader->begin();
    state_ = State::call;
    at_start_ = false;
}

void MarkupReader::end_call(CallReader::Status status, OutputMessage& out) {
    if (status == CallReader::Status::done) {
        const std::vector<ToolCall>& calls = syntax_.reader->calls();
        out.tool_calls.insert(out.tool_calls.end(), calls.begin(), calls.end());
        between_.clear();
        content_.mark();
        section_has_call_ = true;
        keeps_between_ = bare_call_may_begin_ = syntax_.bare;
    } else {
        add_content(scanner_.held(), out);
    }
    scanner_.release();
    state_ = State::content;
}

// Text that is none of what may stand between calls.
void MarkupReader::add_content(std::string_view text, OutputMessage& out) {
    flush_between(out);
    content_.push(text, out.content);
    bare_call_may_begin_ = false;
    at_start_ = false;
}

void MarkupReader::flush_between(OutputMessage& out) {
    content_.push(std::exchange(between_, {}), out.content);
    keeps_between_ = false;
}

}  // namespace greenroom::text
