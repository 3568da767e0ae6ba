#include "runtime/text/utf8.h"

namespace greenroom::text {
namespace {

// What may follow a lead byte: how many bytes in all, and the range of the second one, which is narrower
// after four of the leads to refuse overlong forms (E0, F0), surrogates (ED) and code points above U+10FFFF
// (F4).
struct Lead {
    std::uint8_t size = 0;  // 0: this byte begins no character
    std::uint8_t second_low = 0x80;
    std::uint8_t second_high = 0xBF;
    std::uint8_t value_bits = 0;
};

Lead classify(std::uint8_t byte) noexcept {
    if (byte < 0x80) return {1, 0, 0, 0x7F};
    if (byte < 0xC2) return {};
    if (byte < 0xE0) return {2, 0x80, 0xBF, 0x1F};
    if (byte == 0xE0) return {3, 0xA0, 0xBF, 0x0F};
    if (byte == 0xED) return {3, 0x80, 0x9F, 0x0F};
    if (byte < 0xF0) return {3, 0x80, 0xBF, 0x0F};
    if (byte == 0xF0) return {4, 0x90, 0xBF, 0x07};
    if (byte < 0xF4) return {4, 0x80, 0xBF, 0x07};
    if (byte == 0xF4) return {4, 0x80, 0x8F, 0x07};
    return {};
}

}  // namespace

Utf8Char read_utf8(std::string_view text) noexcept {
    const auto byte_at = [&](std::size_t i) { return static_cast<std::uint8_t>(text[i]); };
    const Lead lead = classify(byte_at(0));
    if (lead.size == 0) return {Utf8Status::invalid, 1, 0};

    char32_t code_point = byte_at(0) & lead.value_bits;
    for (std::uint8_t i = 1; i < lead.size; ++i) {
        if (i == text.size()) return {Utf8Status::truncated, i, 0};
        const std::uint8_t low = i == 1 ? lead.second_low : 0x80;
        const std::uint8_t high = i == 1 ? lead.second_high : 0xBF;
        if (byte_at(i) < low || byte_at(i) > high) return {Utf8Status::invalid, i, 0};
        code_point = (code_point << 6) | (byte_at(i) & 0x3Fu);
    }
    return {Utf8Status::complete, lead.size, code_point};
}

void append_utf8(std::string& out, char32_t code_point) {
    const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
    const auto put_continuation = [&](int shift) { put(0x80 | ((code_point >> shift) & 0x3F)); };
    if (code_point < 0x80) {
        put(code_point);
    } else if (code_point < 0x800) {
        put(0xC0 | (code_point >> 6));
        put_continuation(0);
    } else if (code_point < 0x10000) {
        put(0xE0 | (code_point >> 12));
        put_continuation(6);
        put_continuation(0);
    } else {
        put(0xF0 | (code_point >> 18));
        put_continuation(12);
        put_continuation(6);
        put_continuation(0);
    }
}

bool is_utf8(std::string_view bytes) noexcept {
    std::size_t at = 0;
    while (at < bytes.size()) {
        if (static_cast<std::uint8_t>(bytes[at]) < 0x80) {
            ++at;
            continue;
        }
        const Utf8Char c = read_utf8(bytes.substr(at));
        if (c.status != Utf8Status::complete) return false;
        at += c.size;
    }
    return true;
}

std::size_t append_complete_utf8(std::string& out, std::string_view bytes) {
    std::size_t at = 0;
    while (at < bytes.size()) {
        const Utf8Char c = read_utf8(bytes.substr(at));
        if (c.status == Utf8Status::truncated) break;
        out += c.status == Utf8Status::complete ? bytes.substr(at, c.size) : kReplacementCharacter;
        at += c.size;
    }
    return at;
}

std::string replace_invalid_utf8(std::string_view bytes) {
    std::string out;
    out.reserve(bytes.size());
    if (append_complete_utf8(out, bytes) < bytes.size()) out += kReplacementCharacter;
    return out;
}

}  // namespace greenroom::text
