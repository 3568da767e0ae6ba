#pragma once

// ChatFormat: how a model wants to read a conversation and how it marks its answers: by the chat template
// that its file holds or that was given. For a model without one, a plain transcript that any model of text
// can continue:
//
//     Be brief.
//
//     User: Hi.
//     Assistant: Hello!
//     User: Who are you?
//     Assistant:
//
// Keeps a reference to the tokenizer. const members may be called by any thread.

#include "runtime/engine.h"
#include "runtime/text/chat_template.h"
#include "runtime/text/output/output_format.h"
#include "tools/chat_message.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::tools {

enum class Reasoning { as_template, on, off };

struct ChatFormatOptions {
    std::string template_path;  // instead of the model's; empty: the model's
    Reasoning reasoning = Reasoning::as_template;
    std::string template_variables;  // a JSON object; empty: none
};

class ChatFormat {
  public:
    // Error{bad_input} for a template that is none, {io}. Warns where the template has no switch for
    // reasoning.
    ChatFormat(const runtime::Engine& engine, const ChatFormatOptions& options);

    bool is_transcript() const noexcept { return !template_; }

    // The prompt: the conversation up to where the assistant's answer begins. Error{bad_input} when the
    // template refuses the conversation.
    std::string prompt(std::span<const ChatMessage> messages) const;
    std::vector<text::TokenId> encode(std::string_view prompt) const;

    text::OutputFormat output_format() const noexcept { return output_format_; }
    const std::vector<std::string>& end_markers() const noexcept {
        return end_markers_;
    }                                                                          // see OutputParserOptions
    const std::vector<std::string>& stops() const noexcept { return stops_; }  // see GenerationOptions

  private:
    std::string transcript(std::span<const ChatMessage> messages) const;

    const text::Tokenizer& tokenizer_;
    std::optional<text::ChatTemplate> template_;
    text::jinja::Value variables_ = text::jinja::Value::none();
    text::OutputFormat output_format_;
    std::vector<std::string> end_markers_;
    std::vector<std::string> stops_;
};

}  // namespace greenroom::tools
