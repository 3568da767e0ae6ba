#pragma once

// The reference renderings in tests/data/chat, see the README there.

#include "runtime/text/jinja/date_time.h"
#include "runtime/text/jinja/value.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::test {

struct ChatCase {
    std::string id;
    std::string source;  // of the template
    text::jinja::Value context;
    std::optional<std::string> expected;  // absent: an error
    std::string error;                    // "CLASS: message", as Python tells it; empty: not known
};

struct ChatCases {
    text::jinja::DateTime now;
    std::vector<ChatCase> cases;
};

// The twelve templates.
inline constexpr const char* kChatTemplates[] = {
    "deepseek-v3", "deepseek-v3.1", "deepseek-v3.2",    "gpt-oss", "kimi-k2",     "kimi-k2.6-reconstructed",
    "llama4",      "mixtral-8x7b",  "kimi-k2-thinking", "qwen3",   "qwen3-coder", "qwen3.5",
};

std::string read_chat_file(const std::string& name);

// NAME.cases.json, each with the source of NAME.jinja.
ChatCases load_chat_cases(const std::string& name);

// The case `id` of the template `name`.
ChatCase load_chat_case(const std::string& name, std::string_view id);

// jinja-unit.cases.json.
ChatCases load_unit_cases();

// jinja-python.cases.json.
ChatCases load_python_cases();

// The parameter as a name that GoogleTest takes.
std::string parameter_name(const testing::TestParamInfo<const char*>& info);

}  // namespace greenroom::test
