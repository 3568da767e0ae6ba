#include "tools/chat_message.h"

#include <nlohmann/json.hpp>

namespace greenroom::tools {
namespace {

using Json = nlohmann::ordered_json;

Json to_json_value(const ChatMessage& message) {
    Json json = {{"role", message.role}, {"content", message.said.content}};
    if (!message.said.reasoning_content.empty()) json["reasoning_content"] = message.said.reasoning_content;
    for (const text::ToolCall& call : message.said.tool_calls) {
        Json function = {{"name", call.name}, {"arguments", call.arguments}};
        // Models that number their calls are shown the number again; others need no id that is unique.
        const std::string id =
            call.id.empty() ? "call_" + std::to_string(json["tool_calls"].size()) : call.id;
        json["tool_calls"].push_back({{"id", id}, {"type", "function"}, {"function", std::move(function)}});
    }
    return json;
}

}  // namespace

std::string to_json(std::span<const ChatMessage> messages) {
    Json json = Json::array();
    for (const ChatMessage& message : messages) json.push_back(to_json_value(message));
    return json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace greenroom::tools
