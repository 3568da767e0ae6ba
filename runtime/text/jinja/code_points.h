#pragma once

// Code points of UTF-8 text: what Python's str counts, cuts at and classifies. All texts must be UTF-8.

#include "runtime/text/jinja/value.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greenroom::text::jinja {

std::int64_t count_code_points(std::string_view text) noexcept;

// The byte at which code point `index` begins; the size of the text for an index at its end.
std::size_t byte_offset(const String& string, std::int64_t index) noexcept;
// How many code points lie before a byte.
std::int64_t code_point_index(const String& string, std::size_t byte) noexcept;

// take_code_point() beyond ASCII.
char32_t take_long_code_point(std::string_view& text) noexcept;

// How many bytes the first code point of a text has that is not empty.
inline std::size_t char_size(std::string_view text) noexcept {
    const auto lead = static_cast<unsigned char>(text.front());
    return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

// The code point at the front of a text that is not empty, which loses it.
inline char32_t take_code_point(std::string_view& text) noexcept {
    const auto lead = static_cast<unsigned char>(text.front());
    if (lead >= 0x80) return take_long_code_point(text);
    text.remove_prefix(1);
    return lead;
}

// Its bytes, likewise.
inline std::string_view take_char(std::string_view& text) noexcept {
    const std::string_view taken = text.substr(0, char_size(text));
    text.remove_prefix(taken.size());
    return taken;
}

// The bytes of the last one, likewise.
std::string_view take_last_char(std::string_view& text) noexcept;

inline bool is_ascii_digit(char c) noexcept { return c >= '0' && c <= '9'; }

// The classes of Python's str.isspace(), isalpha() and so on.
bool is_space(char32_t c) noexcept;
bool is_alpha(char32_t c) noexcept;
bool is_decimal(char32_t c) noexcept;
bool is_digit(char32_t c) noexcept;
bool is_numeric(char32_t c) noexcept;
bool is_printable(char32_t c) noexcept;
// Whether it may stand in a name.
bool is_name_start(char32_t c) noexcept;
bool is_name_part(char32_t c) noexcept;

enum class Side : std::uint8_t { left, right, both };

// The text without white space at its sides, or without the code points in `chars`.
std::string_view strip(std::string_view text, Side side = Side::both,
                       const std::optional<std::string_view>& chars = std::nullopt);

// The first line of a text that is not empty, which loses it with its end. The last line needs no end.
enum class LineEnds : std::uint8_t { cut, keep };
std::string_view take_line(std::string_view& text, LineEnds ends = LineEnds::cut);

// What going through a text for all places of `part` takes; before it is done.
void pay_for_search(Budget& budget, std::string_view text, std::string_view part);

// Where `part` first, or last, stands in the text; npos if nowhere. Takes linear time whatever the texts are.
std::size_t find_text(std::string_view text, std::string_view part, std::size_t from = 0) noexcept;
std::size_t find_last_text(std::string_view text, std::string_view part);

}  // namespace greenroom::text::jinja
