#pragma once

// ToolCall: a call of a function that the model asks for, as it is reported in OpenAI's messages.

#include <string>

namespace greenroom::text {

struct ToolCall {
    std::string id;         // empty where the model writes none: the server invents one
    std::string name;       // never empty
    std::string arguments;  // a JSON object, spelled as the model did

    bool operator==(const ToolCall&) const = default;
};

}  // namespace greenroom::text
