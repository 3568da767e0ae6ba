#include "runtime/text/output/json_text.h"

#include "runtime/text/output/json_scanner.h"
#include "runtime/text/utf8.h"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace greenroom::text {
namespace {

constexpr std::string_view kSpaces = " \t\n\r";

void skip_spaces(std::string_view& rest) {
    rest.remove_prefix(std::min(rest.find_first_not_of(kSpaces), rest.size()));
}

// Takes the value that the text begins with. Precondition: there is one.
std::string_view take_value(std::string_view& rest) {
    skip_spaces(rest);
    JsonScanner scanner;
    const std::string_view value = rest.substr(0, scanner.push(rest));
    rest.remove_prefix(value.size());
    skip_spaces(rest);
    return value;
}

// Takes the bracket, comma or colon that comes next.
char take_mark(std::string_view& rest) {
    const char mark = rest.front();
    rest.remove_prefix(1);
    skip_spaces(rest);
    return mark;
}

}  // namespace

std::string_view trimmed(std::string_view text) noexcept {
    const std::size_t begin = text.find_first_not_of(kSpaces);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(kSpaces) - begin + 1);
}

bool is_json(std::string_view text) {
    text = trimmed(text);
    JsonScanner scanner;
    const std::size_t n_taken = scanner.push(text);
    if (!scanner.complete()) scanner.finish();
    return scanner.complete() && n_taken == text.size();
}

bool is_json_object(std::string_view text) { return trimmed(text).starts_with('{') && is_json(text); }

std::optional<std::vector<JsonMember>> json_members(std::string_view object) {
    if (!is_json_object(object)) return std::nullopt;
    std::vector<JsonMember> members;
    std::string_view rest = trimmed(object);
    take_mark(rest);
    if (rest.front() == '}') return members;
    do {
        std::optional<std::string> key = json_string_value(take_value(rest));
        if (!key) return std::nullopt;
        take_mark(rest);  // the colon
        members.push_back({std::move(*key), take_value(rest)});
    } while (take_mark(rest) == ',');
    return members;
}

std::optional<std::vector<std::string_view>> json_items(std::string_view array) {
    std::string_view rest = trimmed(array);
    if (!rest.starts_with('[') || !is_json(array)) return std::nullopt;
    std::vector<std::string_view> items;
    take_mark(rest);
    if (rest.front() == ']') return items;
    do {
        items.push_back(take_value(rest));
    } while (take_mark(rest) == ',');
    return items;
}

std::optional<std::string> json_string_value(std::string_view text) {
    if (!trimmed(text).starts_with('"')) return std::nullopt;
    const auto value = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (!value.is_string()) return std::nullopt;
    return value.get<std::string>();
}

std::string json_quoted(std::string_view text) { return nlohmann::json(replace_invalid_utf8(text)).dump(); }

void JsonObjectWriter::add(std::string_view key, std::string value_json) {
    const auto [found, is_new] = index_.try_emplace(std::string(key), members_.size());
    if (is_new)
        members_.emplace_back(json_quoted(key), std::move(value_json));
    else
        members_[found->second].second = std::move(value_json);
}

std::string JsonObjectWriter::text() const {
    std::string text = "{";
    for (const auto& [key, value] : members_) {
        if (text.size() > 1) text += ", ";
        text += key;
        text += ": ";
        text += value;
    }
    return text + "}";
}

}  // namespace greenroom::text
