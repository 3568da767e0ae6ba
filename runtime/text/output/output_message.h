#pragma once

// OutputMessage: what a model said, in the parts of an OpenAI assistant message. All of it, or what has been
// added.

#include "runtime/text/output/tool_call.h"

#include <string>
#include <vector>

namespace greenroom::text {

struct OutputMessage {
    std::string reasoning_content;
    std::string content;
    std::vector<ToolCall> tool_calls;

    bool empty() const noexcept { return reasoning_content.empty() && content.empty() && tool_calls.empty(); }
    bool operator==(const OutputMessage&) const = default;
};

enum class OutputEnd {
    complete,  // the model ended its answer
    cut_off,   // a limit did
};

}  // namespace greenroom::text
