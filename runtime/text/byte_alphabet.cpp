#include "runtime/text/byte_alphabet.h"

#include "runtime/text/utf8.h"

#include <array>

namespace greenroom::text {
namespace {

constexpr bool stands_for_itself(char32_t c) {
    return (c >= 0x21 && c <= 0x7E) || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
}

// The bytes that U+0100 … stand for.
constexpr auto kShiftedBytes = [] {
    std::array<std::uint8_t, 68> bytes{};
    std::size_t n = 0;
    for (unsigned b = 0; b < 256; ++b)
        if (!stands_for_itself(b)) bytes[n++] = static_cast<std::uint8_t>(b);
    return bytes;
}();

}  // namespace

std::optional<std::uint8_t> alphabet_byte(char32_t character) noexcept {
    if (stands_for_itself(character)) return static_cast<std::uint8_t>(character);
    if (character >= 0x100 && character < 0x100 + kShiftedBytes.size())
        return kShiftedBytes[character - 0x100];
    return std::nullopt;
}

bool append_spelled_bytes(std::string& out, std::string_view spelling) {
    bool all_in_alphabet = true;
    while (!spelling.empty()) {
        const Utf8Char c = read_utf8(spelling);
        const auto byte = c.status == Utf8Status::complete ? alphabet_byte(c.code_point) : std::nullopt;
        if (byte) {
            out.push_back(static_cast<char>(*byte));
        } else {
            out += spelling.substr(0, c.size);
            all_in_alphabet = false;
        }
        spelling.remove_prefix(c.size);
    }
    return all_in_alphabet;
}

}  // namespace greenroom::text
