#include "tools/chat_format.h"

#include "quant/base/log.h"
#include "runtime/text/jinja/date_time.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/json.h"
#include "runtime/text/output/json_text.h"
#include "tools/text_input.h"

#include <algorithm>
#include <array>

namespace greenroom::tools {
namespace {

using text::jinja::Dict;
using text::jinja::Value;

constexpr const char* kTemplateKey = "tokenizer.chat_template";

// Names that templates ask for the reasoning switch by: Qwen and GLM, DeepSeek and Kimi.
constexpr std::array<std::string_view, 2> kReasoningVariables = {"enable_thinking", "thinking"};

bool has_reasoning_switch(std::string_view source) {
    // "thinking" alone is also what gpt-oss calls a part of messages.
    constexpr std::array<std::string_view, 4> kUses = {"enable_thinking", "thinking is ", "if thinking",
                                                       "not thinking"};
    return std::any_of(kUses.begin(), kUses.end(),
                       [source](std::string_view use) { return source.find(use) != std::string_view::npos; });
}

Value template_variables(const ChatFormatOptions& options) {
    Dict variables;
    if (!options.template_variables.empty()) {
        const Value given = text::jinja::parse_json(options.template_variables);
        if (const Dict* dict = given.get<Dict>())
            for (const Dict::Entry& entry : dict->entries()) variables.set(entry.key, entry.value);
    }
    if (options.reasoning != Reasoning::as_template)
        for (const std::string_view name : kReasoningVariables)
            variables.set(name, Value::boolean(options.reasoning == Reasoning::on));
    return text::jinja::make_dict(std::move(variables));
}

}  // namespace

ChatFormat::ChatFormat(const runtime::Engine& engine, const ChatFormatOptions& options)
    : tokenizer_(engine.tokenizer()), variables_(template_variables(options)) {
    std::string source;
    if (!options.template_path.empty()) {
        source = read_text_file(options.template_path);
        template_.emplace(source, options.template_path, text::BosEosTexts::of(tokenizer_));
    } else if (const auto of_model = engine.file().find_string(kTemplateKey)) {
        source = *of_model;
        template_ = text::ChatTemplate::load(engine.file(), tokenizer_);
    }
    if (options.reasoning != Reasoning::as_template && !has_reasoning_switch(source))
        log_warning("--reasoning has no effect: the chat template has no switch for it");

    for (text::TokenId id = 0; id < tokenizer_.size(); ++id)
        if (tokenizer_.is_end_of_generation(id)) end_markers_.emplace_back(tokenizer_.piece(id));
    if (template_) {
        output_format_ = text::detect_output_format(source);
    } else {
        output_format_ = text::OutputFormat::instruct;  // drops the space behind "Assistant:"
        stops_ = {"\nUser:"};
    }
}

std::string ChatFormat::prompt(std::span<const ChatMessage> messages) const {
    if (is_transcript()) return transcript(messages);
    const Value parsed = text::jinja::parse_json(to_json(messages));
    text::Conversation conversation;
    conversation.messages = parsed.get<text::jinja::Sequence>()->items;
    conversation.variables = variables_;
    return template_->render(conversation, text::jinja::DateTime::now());
}

std::string ChatFormat::transcript(std::span<const ChatMessage> messages) const {
    std::string transcript;
    for (const ChatMessage& message : messages) {
        if (message.role != "system") transcript += message.role == "user" ? "User: " : "Assistant: ";
        transcript += text::trimmed(message.said.content);
        transcript += message.role == "system" ? "\n\n" : "\n";
    }
    return transcript + "Assistant:";
}

std::vector<text::TokenId> ChatFormat::encode(std::string_view prompt) const {
    if (!is_transcript()) return tokenizer_.encode(prompt, text::kPromptEncoding);
    std::vector<text::TokenId> tokens = tokenizer_.encode(
        prompt, {.special = text::SpecialTokens::literal, .add_bos_eos = text::AddBosEos::as_metadata});
    // A text that is to be continued does not end.
    if (tokenizer_.adds_eos() && !tokens.empty()) tokens.pop_back();
    return tokens;
}

}  // namespace greenroom::tools
