#pragma once

// One value within a formatted text: "{:>8.2f}", "%08.2f".

#include "runtime/text/jinja/value.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greenroom::text::jinja {

struct FieldSpec {
    std::string fill = " ";   // one character
    char align = '\0';        // '<' '>' '^', or '=': between sign and digits; '\0': as the type has it
    char sign = '-';          // '+', ' ': what stands before a positive number
    bool has_prefix = false;  // 0x, 0o, 0b
    bool pads_zeros = false;
    std::int64_t width = 0;
    char grouping = '\0';  // ',' or '_' between thousands
    std::optional<int> precision;
    char type = '\0';  // 's', 'd', 'f', …; '\0': as the value's type has it
};

// What follows the colon in "{:…}". Error{bad_input}.
FieldSpec parse_field_spec(std::string_view text);

// Takes the number at the front; empty if there is none. Error{unsupported} if nothing sensible is that long.
std::optional<int> take_count(std::string_view& text);

// Error{bad_input} for a type that the value cannot be written as.
std::string format_field(Budget& budget, const Value& value, const FieldSpec& spec);

}  // namespace greenroom::text::jinja
