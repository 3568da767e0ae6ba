#include "runtime/text/jinja/code_points.h"

#include "runtime/text/utf8.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

namespace greenroom::text::jinja {
namespace {

bool is_continuation(char byte) noexcept { return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U; }

utf8proc_category_t category(char32_t c) noexcept {
    return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

// Where Python's str.splitlines() cuts.
bool is_line_end(char32_t c) noexcept {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
}

char32_t decode(std::string_view one_char) noexcept { return take_code_point(one_char); }

std::u32string sorted_code_points(std::string_view text) {
    std::u32string all;
    while (!text.empty()) all.push_back(take_code_point(text));
    std::sort(all.begin(), all.end());
    return all;
}

}  // namespace

std::int64_t count_code_points(std::string_view text) noexcept {
    return std::count_if(text.begin(), text.end(), [](char byte) { return !is_continuation(byte); });
}

std::size_t byte_offset(const String& string, std::int64_t index) noexcept {
    if (string.is_ascii()) return static_cast<std::size_t>(index);
    std::size_t at = 0;
    for (; at < string.bytes.size(); ++at)
        if (!is_continuation(string.bytes[at]) && index-- == 0) break;
    return at;
}

std::int64_t code_point_index(const String& string, std::size_t byte) noexcept {
    if (string.is_ascii()) return static_cast<std::int64_t>(byte);
    return count_code_points(std::string_view(string.bytes).substr(0, byte));
}

char32_t take_long_code_point(std::string_view& text) noexcept {
    const Utf8Char c = read_utf8(text);
    text.remove_prefix(c.size);
    return c.code_point;
}

std::string_view take_last_char(std::string_view& text) noexcept {
    std::size_t begin = text.size() - 1;
    while (begin > 0 && is_continuation(text[begin])) --begin;
    const std::string_view taken = text.substr(begin);
    text.remove_suffix(taken.size());
    return taken;
}

bool is_space(char32_t c) noexcept {
    if (c < 0x80) return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20);
    return c == 0x85 || category(c) == UTF8PROC_CATEGORY_ZS || c == 0x2028 || c == 0x2029;
}

bool is_alpha(char32_t c) noexcept {
    const auto kind = category(c);
    return kind >= UTF8PROC_CATEGORY_LU && kind <= UTF8PROC_CATEGORY_LO;
}

bool is_decimal(char32_t c) noexcept { return category(c) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t c) noexcept {
    // Superscripts, subscripts and digits in circles; the rest of category No are numbers that are no digits.
    const bool is_other_digit = c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070 ||
                                (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089) ||
                                (c >= 0x2460 && c <= 0x2468);
    return is_other_digit || is_decimal(c);
}

bool is_numeric(char32_t c) noexcept {
    const auto kind = category(c);
    return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_NO;
}

bool is_printable(char32_t c) noexcept {
    switch (category(c)) {
        case UTF8PROC_CATEGORY_CN:
        case UTF8PROC_CATEGORY_CC:
        case UTF8PROC_CATEGORY_CF:
        case UTF8PROC_CATEGORY_CS:
        case UTF8PROC_CATEGORY_CO:
        case UTF8PROC_CATEGORY_ZL:
        case UTF8PROC_CATEGORY_ZP:
            return false;
        case UTF8PROC_CATEGORY_ZS:
            return c == ' ';
        default:
            return true;
    }
}

bool is_name_start(char32_t c) noexcept {
    return c == '_' || is_alpha(c) || category(c) == UTF8PROC_CATEGORY_NL;
}

bool is_name_part(char32_t c) noexcept {
    if (is_name_start(c) || is_decimal(c)) return true;
    const auto kind = category(c);
    return kind == UTF8PROC_CATEGORY_MN || kind == UTF8PROC_CATEGORY_MC || kind == UTF8PROC_CATEGORY_PC;
}

std::string_view strip(std::string_view text, Side side, const std::optional<std::string_view>& chars) {
    const std::u32string stripped = sorted_code_points(chars.value_or(std::string_view{}));
    const auto goes = [&](std::string_view one_char) {
        const char32_t c = decode(one_char);
        return chars ? std::binary_search(stripped.begin(), stripped.end(), c) : is_space(c);
    };
    if (side != Side::right) {
        for (std::string_view rest = text; !rest.empty() && goes(take_char(rest));) text = rest;
    }
    if (side != Side::left) {
        for (std::string_view rest = text; !rest.empty() && goes(take_last_char(rest));) text = rest;
    }
    return text;
}

std::string_view take_line(std::string_view& text, LineEnds ends) {
    const std::string_view whole = text;
    while (!text.empty()) {
        const std::size_t end = whole.size() - text.size();
        const char32_t c = take_code_point(text);
        if (!is_line_end(c)) continue;
        if (c == '\r' && text.starts_with('\n')) text.remove_prefix(1);
        return whole.substr(0, ends == LineEnds::keep ? whole.size() - text.size() : end);
    }
    return whole;
}

void pay_for_search(Budget& budget, std::string_view text, std::string_view part) {
    // Long parts can make the search look at each byte several times.
    constexpr std::size_t kLong = 32;
    budget.work(part.size() > kLong ? 16 * text.size() : text.size());
}

std::size_t find_text(std::string_view text, std::string_view part, std::size_t from) noexcept {
    if (from > text.size()) return std::string_view::npos;
    if (part.empty()) return from;
    // string_view::find takes the product of both lengths where the text nearly matches everywhere.
    const void* found = memmem(text.data() + from, text.size() - from, part.data(), part.size());
    if (found == nullptr) return std::string_view::npos;
    return static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

std::size_t find_last_text(std::string_view text, std::string_view part) {
    // The first place from behind; going on from match to match would take quadratic time.
    const std::string mirrored_text(text.rbegin(), text.rend());
    const std::string mirrored_part(part.rbegin(), part.rend());
    const std::size_t found = find_text(mirrored_text, mirrored_part);
    return found == std::string_view::npos ? found : text.size() - found - part.size();
}

}  // namespace greenroom::text::jinja
