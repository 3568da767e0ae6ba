#pragma once

// UTF-8, one character at a time, and text cleaned of what is not UTF-8.
//
// Each maximal subpart of an ill-formed sequence counts as one U+FFFD (The Unicode Standard, 3.9, "U+FFFD
// Substitution of Maximal Subparts"), which is what Python's errors="replace" and web browsers do.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace greenroom::text {

enum class Utf8Status : std::uint8_t {
    complete,   // a character
    invalid,    // bytes that no continuation can make a character
    truncated,  // the text ends within a character
};

struct Utf8Char {
    Utf8Status status = Utf8Status::complete;
    std::uint8_t size = 0;    // bytes of the character, or of the maximal subpart
    char32_t code_point = 0;  // of a complete character
};

// The first character of a text that is not empty.
Utf8Char read_utf8(std::string_view text) noexcept;

// Precondition: code_point is a Unicode scalar value.
void append_utf8(std::string& out, char32_t code_point);

bool is_utf8(std::string_view bytes) noexcept;

// Appends `bytes` with every invalid subpart as U+FFFD, up to a character that is cut off at the end, which
// may still become one. Returns how many bytes were taken.
std::size_t append_complete_utf8(std::string& out, std::string_view bytes);

// The same for all of the text: a cut-off character at the end is a U+FFFD too.
std::string replace_invalid_utf8(std::string_view bytes);

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

}  // namespace greenroom::text
