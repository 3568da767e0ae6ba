#pragma once

// MarkupReader: reasoning in <think> tags, then content, and calls between markers (CallSyntax): every format
// but harmony. <think> counts only where nothing stands before it, or where the prompt opened it.

#include "runtime/text/output/call_reader.h"
#include "runtime/text/output/marker_scanner.h"
#include "runtime/text/output/output_reader.h"
#include "runtime/text/output/trimmed_text.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text {

class MarkupReader : public OutputReader {
  public:
    MarkupReader(CallSyntax syntax, std::string_view prompt_suffix);

    void push(std::string_view text, OutputMessage& out) override;
    void finish(OutputEnd end, OutputMessage& out) override;

  private:
    enum class State : std::uint8_t { reasoning, content, call };

    // Each takes what comes next; false when there is nothing more to take.
    bool read_reasoning(OutputMessage& out);
    bool read_content(OutputMessage& out);
    bool read_call(OutputMessage& out);

    std::span<const std::string_view> content_markers() const noexcept;
    void take_content_text(std::string_view text, OutputMessage& out);
    void take_content_marker(std::string_view marker, OutputMessage& out);
    void begin_call(std::size_t n_marker_bytes);
    void end_call(CallReader::Status status, OutputMessage& out);
    void add_content(std::string_view text, OutputMessage& out);
    void flush_between(OutputMessage& out);

    CallSyntax syntax_;
    std::vector<std::string_view>
        content_markers_;  // { and [ and <think>, which do not always count, and the others
    std::vector<std::string_view> reasoning_markers_;
    MarkerScanner scanner_;
    TrimmedText reasoning_;
    TrimmedText content_;
    State state_ = State::content;
    bool at_start_ = true;  // <think> counts

    // Calls and what stands between them.
    bool bare_call_may_begin_;
    bool keeps_between_ = false;  // a section began, or a bare call ended
    std::string between_;         // the section's marker, whitespace, separators: left out if a call follows
    bool section_has_call_ = false;
};

}  // namespace greenroom::text
