#include "tools/chat_screen.h"

#include "tools/standard_streams.h"

#include <cstdlib>

namespace greenroom::tools {
namespace {

constexpr std::string_view kDim = "\x1b[2m";
constexpr std::string_view kNormal = "\x1b[0m";

// Text of a model must not move the cursor or worse: control characters are left out, but for newlines and
// tabs.
std::string without_controls(std::string_view text) {
    std::string shown;
    for (std::size_t at = 0; at < text.size(); ++at) {
        const auto byte = static_cast<unsigned char>(text[at]);
        const bool is_c1 =
            byte == 0xC2 && at + 1 < text.size() && static_cast<unsigned char>(text[at + 1]) < 0xA0;
        if (is_c1)
            ++at;
        else if ((byte >= 0x20 && byte != 0x7F) || byte == '\n' || byte == '\t')
            shown += text[at];
    }
    return shown;
}

std::string call_text(const text::ToolCall& call) {
    return "[calls " + call.name + " " + call.arguments + "]";
}

}  // namespace

ChatScreen::ChatScreen(Reasoning reasoning)
    : shows_reasoning_(reasoning == Reasoning::show),
      output_is_terminal_(output_is_terminal()),
      uses_colours_((output_is_terminal_ || error_is_terminal()) && terminal_has_colours()) {}

void ChatScreen::show(const text::OutputMessage& part) {
    if (shows_reasoning_ && !part.reasoning_content.empty()) {
        begin(Part::reasoning);
        write_reasoning(without_controls(part.reasoning_content));
    }
    if (!part.content.empty()) {
        begin(Part::answer);
        write(part.content);
        at_line_start_ = part.content.back() == '\n';
    }
    for (const text::ToolCall& call : part.tool_calls) {
        begin(Part::answer);
        if (!at_line_start_) write("\n");
        write(call_text(call) + "\n");
        at_line_start_ = true;
    }
}

void ChatScreen::end_answer() {
    if (part_ == Part::reasoning) begin(Part::answer);
    if (part_ == Part::none || !at_line_start_) write("\n");
    drop_answer();
}

void ChatScreen::drop_answer() {
    if (part_ == Part::reasoning) begin(Part::answer);
    part_ = Part::none;
    at_line_start_ = true;
}

void ChatScreen::begin(Part part) {
    if (part == part_) return;
    if (part == Part::reasoning)
        write_reasoning(uses_colours_ ? kDim : "[reasoning]\n");
    else if (part_ == Part::reasoning)
        write_reasoning(uses_colours_ ? std::string(kNormal) + "\n\n" : "\n[answer]\n");
    part_ = part;
}

void ChatScreen::write(std::string_view text) const {
    write_output(output_is_terminal_ ? without_controls(text) : std::string(text));
}

void ChatScreen::write_reasoning(std::string_view text) const {
    if (output_is_terminal_)
        write_output(text);
    else
        write_error(text);
}

bool terminal_has_colours() {
    const char* no_color = std::getenv("NO_COLOR");
    const char* term = std::getenv("TERM");
    return (no_color == nullptr || *no_color == '\0') && term != nullptr && std::string_view(term) != "dumb";
}

}  // namespace greenroom::tools
