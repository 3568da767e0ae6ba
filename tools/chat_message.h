#pragma once

// ChatMessage: one message of a conversation, and its form in OpenAI's API, which is also what chat templates
// take.

#include "runtime/text/output/output_message.h"

#include <span>
#include <string>

namespace greenroom::tools {

struct ChatMessage {
    std::string role;          // system, user, assistant
    text::OutputMessage said;  // valid UTF-8; reasoning and calls of an assistant only
};

// [{"role": …, "content": …}, …] on many lines.
std::string to_json(std::span<const ChatMessage> messages);

}  // namespace greenroom::tools
