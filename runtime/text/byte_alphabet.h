#pragma once

// The alphabet in which byte-level BPE vocabularies are spelled: a printable character for every byte
// (GPT-2's encoder). Bytes that are printable in Latin-1 stand for themselves; the other 68 are U+0100,
// U+0101 … in order of the byte. A space is "Ġ", a newline "Ċ".

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greenroom::text {

// The byte that a character of the alphabet stands for, or nothing.
std::optional<std::uint8_t> alphabet_byte(char32_t character) noexcept;

// Appends the bytes that `spelling` stands for. Characters outside of the alphabet are copied as they are and
// make the result false.
bool append_spelled_bytes(std::string& out, std::string_view spelling);

}  // namespace greenroom::text
