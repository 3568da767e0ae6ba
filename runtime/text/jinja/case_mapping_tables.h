#pragma once

// The table behind case_mapping.cpp.

#include <string_view>

namespace greenroom::text::jinja {

struct SpecialCase {
    char32_t c;
    std::string_view upper;
    std::string_view title;
};

// nullptr: upper and title case of this character are one character each.
const SpecialCase* find_special_case(char32_t c) noexcept;

}  // namespace greenroom::text::jinja
