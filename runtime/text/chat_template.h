#pragma once

// ChatTemplate: a conversation as the text of a prompt, written as the model was trained to read it. The
// template is the vendor's: it stands in the model's file, or in a file of its own.
//
// Parsed once, rendered any number of times; const members may be called by any thread. Templates are taken
// for hostile, see runtime/text/jinja/template.h for what bounds them and for the stack they need.

#include "quant/gguf.h"
#include "runtime/text/jinja/date_time.h"
#include "runtime/text/jinja/template.h"
#include "runtime/text/jinja/value.h"
#include "runtime/text/tokenizer.h"

#include <optional>
#include <string>
#include <string_view>

namespace greenroom::text {

// How a prompt that a template made becomes tokens: it carries its own control tokens, BOS among them.
inline constexpr EncodeOptions kPromptEncoding = {.special = SpecialTokens::parse,
                                                  .add_bos_eos = AddBosEos::never,
                                                  .dummy_prefix = DummyPrefix::start_only};

// What templates call bos_token and eos_token.
struct BosEosTexts {
    std::optional<std::string> bos;
    std::optional<std::string> eos;

    static BosEosTexts of(const Tokenizer& tokenizer);
};

// Objects and lists are as in OpenAI's chat API; jinja::parse_json() makes them from a request's body.
struct Conversation {
    jinja::Values messages;                         // objects: role, content, tool_calls and so on
    jinja::Value tools = jinja::Value::none();      // a list of the tools that the model may call, or none
    jinja::Value variables = jinja::Value::none();  // an object of others that the template may know, or
                                                    // none: enable_thinking, reasoning_effort
    bool add_generation_prompt = true;              // the text ends where the assistant's answer begins
};

// {"role": role, "content": content}; invalid UTF-8 is read as U+FFFD.
jinja::Value chat_message(std::string_view role, std::string_view content);

class ChatTemplate {
  public:
    // The template of a file: tokenizer.chat_template, and for conversations with tools
    // tokenizer.chat_template.tool_use where there is one; or the one named tokenizer.chat_template.NAME for
    // both. Error{bad_input} when the file has none, or it is no template.
    static ChatTemplate load(const quant::Gguf& gguf, const Tokenizer& tokenizer, std::string_view name = {});

    // From its source; `name` stands for it in messages.
    ChatTemplate(std::string_view source, std::string name, BosEosTexts bos_eos = {});

    // The prompt. Arguments of tool calls, which the API has as a string of JSON, are given to the template
    // as the object that they are, since most need that; and as the string if the template fails so.
    // Error{bad_input} when the template refuses the conversation; the message ends with its reason.
    std::string render(const Conversation& conversation, const jinja::DateTime& now) const;

    // The text for these variables, an object of all of them. They are taken as they are; bos_token and
    // eos_token are added where they are missing.
    std::string render_variables(const jinja::Value& variables, const jinja::DateTime& now) const;

  private:
    ChatTemplate(jinja::Template parsed, BosEosTexts bos_eos);

    jinja::Template default_;
    std::optional<jinja::Template> tool_use_;
    BosEosTexts bos_eos_;
};

}  // namespace greenroom::text
