#pragma once

// JSON to values and back, as Python's json module does it: the order of keys is kept, an integer keeps all
// its digits, 1.0 stays 1.0, and NaN and Infinity are read and written.

#include "runtime/text/jinja/value.h"

#include <optional>
#include <string>
#include <string_view>

namespace greenroom::text::jinja {

// Error{bad_input} names the byte. Of a key that occurs twice the last value counts; \u escapes that are half
// a surrogate pair become U+FFFD.
Value parse_json(std::string_view text, Budget* budget = nullptr);

struct JsonStyle {
    bool escapes_non_ascii = false;     // é as \u00e9
    std::optional<std::string> indent;  // of one level; absent: all on one line
    std::string item_separator = ", ";  // with an indent: before the end of the line
    std::string key_separator = ": ";
    bool sorts_keys = false;
};

// Error{bad_input} for what JSON has no form of.
Value write_json(Budget& budget, const Value& value, const JsonStyle& style);

}  // namespace greenroom::text::jinja
