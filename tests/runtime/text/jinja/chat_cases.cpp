#include "tests/runtime/text/jinja/chat_cases.h"

#include "runtime/text/jinja/dict.h"
#include "runtime/text/jinja/json.h"
#include "tests/support/paths.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace greenroom::test {
namespace {

using text::jinja::Dict;
using text::jinja::Sequence;
using text::jinja::String;
using text::jinja::Value;
using text::jinja::Values;

const Value& at(const Value& object, std::string_view key) {
    const Value* value = object.get<Dict>()->find(key);
    if (value == nullptr) throw std::runtime_error("no key " + std::string(key));
    return *value;
}

const Values& elements(const Value& list) { return list.get<Sequence>()->items; }

std::string text_of(const Value& value) { return value.get<String>()->bytes; }

std::optional<std::string> find_text(const Value& object, std::string_view key) {
    const Value* value = object.get<Dict>()->find(key);
    return value == nullptr ? std::nullopt : std::optional(text_of(*value));
}

// A template of their own, or else `source`.
ChatCases load(const std::string& file, const std::string& source) {
    const Value json = text::jinja::parse_json(read_chat_file(file));
    ChatCases loaded{text::jinja::DateTime::parse(text_of(at(json, "now"))), {}};
    for (const Value& c : elements(at(json, "cases"))) {
        loaded.cases.push_back({text_of(at(c, "id")), find_text(c, "template").value_or(source),
                                at(c, "context"), find_text(c, "expected"),
                                find_text(c, "error").value_or("")});
    }
    return loaded;
}

}  // namespace

std::string read_chat_file(const std::string& name) {
    std::ifstream file(test_data("chat") / name, std::ios::binary);
    if (!file) throw std::runtime_error("cannot open " + name);
    return {std::istreambuf_iterator<char>(file), {}};
}

ChatCases load_chat_cases(const std::string& name) {
    return load(name + ".cases.json", read_chat_file(name + ".jinja"));
}

ChatCase load_chat_case(const std::string& name, std::string_view id) {
    const ChatCases loaded = load_chat_cases(name);
    const auto found = std::find_if(loaded.cases.begin(), loaded.cases.end(),
                                    [id](const ChatCase& one) { return one.id == id; });
    if (found == loaded.cases.end()) throw std::runtime_error("no case " + std::string(id));
    return *found;
}

ChatCases load_unit_cases() { return load("jinja-unit.cases.json", ""); }

ChatCases load_python_cases() {
    const Value json = text::jinja::parse_json(read_chat_file("jinja-python.cases.json"));
    ChatCases loaded{text::jinja::DateTime::parse(text_of(at(json, "now"))), {}};
    for (const Value& group : elements(at(json, "groups"))) {
        for (const Value& c : elements(at(group, "cases"))) {
            const Value& result = elements(c).at(1);
            loaded.cases.push_back({"", text_of(elements(c).at(0)), at(group, "context"),
                                    result.is_none() ? std::nullopt : std::optional(text_of(result)), ""});
        }
    }
    return loaded;
}

std::string parameter_name(const testing::TestParamInfo<const char*>& info) {
    std::string name = info.param;
    std::replace_if(
        name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
    return name;
}

}  // namespace greenroom::test
