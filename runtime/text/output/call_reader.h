#pragma once

// CallReader: reads the calls of one family from the text behind the marker that begins them.
// CallSyntax: its markers, for MarkupReader, which finds them. Not thread-safe.

#include "runtime/text/output/marker_scanner.h"
#include "runtime/text/output/output_format.h"
#include "runtime/text/output/tool_call.h"
#include "runtime/text/output/tool_schema.h"

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

namespace greenroom::text {

class CallReader {
  public:
    enum class Status : std::uint8_t {
        more,    // all of the text is taken, and the call goes on
        done,    // calls() are complete
        failed,  // what was taken is no call
    };

    virtual ~CallReader() = default;
    CallReader() = default;
    CallReader(const CallReader&) = delete;
    CallReader& operator=(const CallReader&) = delete;

    // A call begins.
    virtual void begin() = 0;

    // Takes its text, and no byte behind it. The scanner holds since the marker that began it.
    virtual Status read(MarkerScanner& scanner) = 0;

    // The text is at its end; never `more`.
    virtual Status finish() = 0;

    const std::vector<ToolCall>& calls() const noexcept { return calls_; }

  protected:
    std::vector<ToolCall> calls_;
};

struct CallSyntax {
    std::string_view section_begin;  // around all calls; may be empty
    std::string_view section_end;
    std::string_view call_begin;  // empty where the section's marker begins the call
    bool bare = false;            // a call may also begin with { or [, at the start or behind another
    bool ends_reasoning = false;  // also without </think>: the markers are tokens that no text contains
    std::unique_ptr<CallReader> reader;  // null: there are no calls
};

// For every format but harmony. The reader keeps a reference to `schema`.
CallSyntax make_call_syntax(OutputFormat format, const ToolSchema& schema);

}  // namespace greenroom::text
