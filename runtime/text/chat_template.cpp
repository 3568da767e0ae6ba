#include "runtime/text/chat_template.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/json.h"
#include "runtime/text/utf8.h"

#include <fmt/ranges.h>

#include <exception>
#include <utility>
#include <vector>

namespace greenroom::text {
namespace {

using jinja::Dict;
using jinja::Sequence;
using jinja::SequenceKind;
using jinja::String;
using jinja::Value;
using jinja::Values;
using quant::Gguf;

constexpr std::string_view kDefaultKey = "tokenizer.chat_template";
constexpr std::string_view kNamedPrefix = "tokenizer.chat_template.";
constexpr std::string_view kToolUse = "tool_use";

std::string key_of(std::string_view name) {
    return name.empty() ? std::string(kDefaultKey) : std::string(kNamedPrefix) + std::string(name);
}

std::vector<std::string_view> named_templates(const Gguf& gguf) {
    std::vector<std::string_view> names;
    for (const quant::GgufEntry& entry : gguf.entries())
        if (entry.key.starts_with(kNamedPrefix)) names.push_back(entry.key.substr(kNamedPrefix.size()));
    return names;
}

[[noreturn]] void fail_missing(const Gguf& gguf, std::string_view name) {
    std::string names = fmt::format("{}", fmt::join(named_templates(gguf), ", "));
    if (names.empty()) names = "none";
    fail(
        ErrorKind::bad_input,
        "{}: {} is missing, so nobody knows how this model reads a conversation (templates with a name: {}). "
        "Give a template with --chat-template-file FILE.jinja.",
        gguf.path(), key_of(name), names);
}

std::optional<jinja::Template> find_template(const Gguf& gguf, std::string_view name) {
    const std::string key = key_of(name);
    const auto source = gguf.find_string(key);
    if (!source) return std::nullopt;
    return jinja::Template(*source, fmt::format("{}: {}", gguf.path(), key));
}

// A dict with one value replaced.
Value with_entry(const Dict& dict, std::string_view key, Value value) {
    Dict copy;
    for (const Dict::Entry& entry : dict.entries()) copy.set(entry.key, entry.value);
    copy.set(key, std::move(value));
    return jinja::make_dict(std::move(copy));
}

// The object that a string of JSON holds; nothing if it holds anything else. Clients write "" for no
// arguments.
std::optional<Value> parse_object(std::string_view json) {
    if (json.empty()) return jinja::make_dict(Dict());
    try {
        Value value = jinja::parse_json(json);
        if (value.get<Dict>() != nullptr) return value;
    } catch (const Error&) {  // what is no JSON stays what it is
    }
    return std::nullopt;
}

// The same tool call with an object for its arguments; nothing if they are no string, or not of an object.
std::optional<Value> with_object(const Value& call) {
    const Dict* dict = call.get<Dict>();
    const Value* function = dict == nullptr ? nullptr : dict->find("function");
    const Dict* holder = function == nullptr ? dict : function->get<Dict>();
    const Value* arguments = holder == nullptr ? nullptr : holder->find("arguments");
    const String* json = arguments == nullptr ? nullptr : arguments->get<String>();
    std::optional<Value> object = json == nullptr ? std::nullopt : parse_object(json->bytes);
    if (!object) return std::nullopt;
    Value changed = with_entry(*holder, "arguments", *std::move(object));
    return function == nullptr ? changed : with_entry(*dict, "function", std::move(changed));
}

// The same elements, those replaced for which `change` has something else; nothing if it has for none.
template <class Change>
std::optional<Values> with_changes(const Values& elements, Change&& change) {
    Values changed = elements;
    bool is_same = true;
    for (Value& element : changed) {
        std::optional<Value> other = change(element);
        if (!other) continue;
        element = *std::move(other);
        is_same = false;
    }
    return is_same ? std::nullopt : std::optional(std::move(changed));
}

std::optional<Value> with_objects(const Value& message) {
    const Dict* dict = message.get<Dict>();
    const Value* calls = dict == nullptr ? nullptr : dict->find("tool_calls");
    const Sequence* list = calls == nullptr ? nullptr : calls->get<Sequence>();
    std::optional<Values> changed = list == nullptr ? std::nullopt : with_changes(list->items, with_object);
    if (!changed) return std::nullopt;
    return with_entry(*dict, "tool_calls", jinja::make_sequence(SequenceKind::list, *std::move(changed)));
}

Value variables_of(const Conversation& conversation, Values messages) {
    Dict variables;
    variables.set("documents", Value::none());  // templates expect it to be there
    if (const Dict* others = conversation.variables.get<Dict>())
        for (const Dict::Entry& entry : others->entries()) variables.set(entry.key, entry.value);
    variables.set("messages", jinja::make_sequence(SequenceKind::list, std::move(messages)));
    variables.set("tools", conversation.tools);
    variables.set("add_generation_prompt", Value::boolean(conversation.add_generation_prompt));
    return jinja::make_dict(std::move(variables));
}

}  // namespace

BosEosTexts BosEosTexts::of(const Tokenizer& tokenizer) {
    const auto text_of = [&tokenizer](std::optional<TokenId> id) {
        return id ? std::optional(std::string(tokenizer.piece(*id))) : std::nullopt;
    };
    return {text_of(tokenizer.bos()), text_of(tokenizer.eos())};
}

Value chat_message(std::string_view role, std::string_view content) {
    Dict message;
    message.set("role", jinja::make_string(replace_invalid_utf8(role)));
    message.set("content", jinja::make_string(replace_invalid_utf8(content)));
    return jinja::make_dict(std::move(message));
}

ChatTemplate::ChatTemplate(std::string_view source, std::string name, BosEosTexts bos_eos)
    : default_(source, std::move(name)), bos_eos_(std::move(bos_eos)) {}

ChatTemplate::ChatTemplate(jinja::Template parsed, BosEosTexts bos_eos)
    : default_(std::move(parsed)), bos_eos_(std::move(bos_eos)) {}

ChatTemplate ChatTemplate::load(const Gguf& gguf, const Tokenizer& tokenizer, std::string_view name) {
    std::optional<jinja::Template> found = find_template(gguf, name);
    if (!found) fail_missing(gguf, name);
    ChatTemplate loaded(*std::move(found), BosEosTexts::of(tokenizer));
    if (name.empty()) loaded.tool_use_ = find_template(gguf, kToolUse);
    return loaded;
}

std::string ChatTemplate::render(const Conversation& conversation, const jinja::DateTime& now) const {
    std::optional<Values> with_parsed = with_changes(conversation.messages, with_objects);
    std::exception_ptr failure;
    if (with_parsed) {
        try {
            return render_variables(variables_of(conversation, *std::move(with_parsed)), now);
        } catch (const Error& error) {
            if (error.kind() != ErrorKind::bad_input) throw;
            failure = std::current_exception();
        }
    }
    try {
        return render_variables(variables_of(conversation, conversation.messages), now);
    } catch (const Error&) {
        if (failure) std::rethrow_exception(failure);  // what most templates want is what is told about
        throw;
    }
}

std::string ChatTemplate::render_variables(const Value& variables, const jinja::DateTime& now) const {
    jinja::RenderOptions options;
    options.now = now;
    const Dict* given = variables.get<Dict>();
    if (given == nullptr) return default_.render(variables, options);  // which refuses it

    Dict all;
    if (bos_eos_.bos) all.set("bos_token", jinja::make_string(*bos_eos_.bos));
    if (bos_eos_.eos) all.set("eos_token", jinja::make_string(*bos_eos_.eos));
    for (const Dict::Entry& entry : given->entries()) all.set(entry.key, entry.value);
    const Value* tools = given->find("tools");
    const bool uses_tools = tools != nullptr && tools->truth();
    const jinja::Template& chosen = uses_tools && tool_use_ ? *tool_use_ : default_;
    return chosen.render(jinja::make_dict(std::move(all)), options);
}

}  // namespace greenroom::text
