#include "runtime/text/jinja/format_field.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/numbers.h"
#include "runtime/text/jinja/repr.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace greenroom::text::jinja {
namespace {

// Beyond all use: a float has at most 1074 decimals.
constexpr int kMaxCount = 10'000'000;
constexpr int kMaxPrecision = 1100;

bool is_align(char c) { return c == '<' || c == '>' || c == '^' || c == '='; }

struct NumberText {
    bool is_negative = false;
    std::string prefix;
    std::string digits;  // with decimals and exponent
    int group_size = 3;
};

[[noreturn]] void fail_type(const Value& value, char type) {
    fail(ErrorKind::bad_input, "unknown format code '{}' for an object of type '{}'", type, type_name(value));
}

NumberText integer_text(Budget& budget, const Value& value, const FieldSpec& spec) {
    if (spec.precision) fail(ErrorKind::bad_input, "precision is not allowed in the format of an integer");
    NumberText text;
    if (spec.type == '\0' || spec.type == 'd' || spec.type == 'n') {
        const auto integer = as_integer(value);
        text.digits = integer ? std::to_string(*integer) : to_text(budget, value);
        text.is_negative = text.digits.starts_with('-');
        if (text.is_negative) text.digits.erase(0, 1);
        return text;
    }
    const auto integer = as_integer(value);
    if (!integer)
        fail(ErrorKind::unsupported, "the format '{}' of integers beyond 64 bits is not supported",
             spec.type);
    text.is_negative = *integer < 0;
    const std::uint64_t magnitude =
        text.is_negative ? -static_cast<std::uint64_t>(*integer) : static_cast<std::uint64_t>(*integer);
    text.group_size = 4;
    switch (spec.type) {
        case 'x':
            text.digits = fmt::format("{:x}", magnitude);
            break;
        case 'X':
            text.digits = fmt::format("{:X}", magnitude);
            break;
        case 'o':
            text.digits = fmt::format("{:o}", magnitude);
            break;
        default:
            text.digits = fmt::format("{:b}", magnitude);
            break;
    }
    if (spec.has_prefix) text.prefix = std::string("0") + spec.type;
    return text;
}

NumberText real_number_text(const Value& value, const FieldSpec& spec) {
    if (spec.has_prefix) fail(ErrorKind::unsupported, "the format '#' of floats is not supported");
    const double real = to_real(value);
    NumberText text;
    text.is_negative = std::signbit(real) && !std::isnan(real);
    const double magnitude = std::fabs(real);
    const int precision = spec.precision.value_or(6);
    switch (spec.type) {
        case 'f':
            text.digits = fmt::format("{:.{}f}", magnitude, precision);
            break;
        case 'F':
            text.digits = fmt::format("{:.{}F}", magnitude, precision);
            break;
        case 'e':
            text.digits = fmt::format("{:.{}e}", magnitude, precision);
            break;
        case 'E':
            text.digits = fmt::format("{:.{}E}", magnitude, precision);
            break;
        case 'g':
        case 'n':
            text.digits = fmt::format("{:.{}g}", magnitude, std::max(precision, 1));
            break;
        case 'G':
            text.digits = fmt::format("{:.{}G}", magnitude, std::max(precision, 1));
            break;
        case '%':
            text.digits = fmt::format("{:.{}f}%", magnitude * 100, precision);
            break;
        default:
            text.digits = real_text(magnitude);
            if (spec.precision) text.digits = fmt::format("{:.{}g}", magnitude, std::max(precision, 1));
            if (text.digits.find_first_not_of("0123456789") == text.digits.npos) text.digits += ".0";
            break;
    }
    return text;
}

void group(NumberText& text, char separator) {
    const std::size_t n_whole =
        std::min(text.digits.find_first_not_of("0123456789abcdefABCDEF"), text.digits.size());
    for (auto at = static_cast<std::ptrdiff_t>(n_whole) - text.group_size; at > 0; at -= text.group_size)
        text.digits.insert(static_cast<std::size_t>(at), 1, separator);
}

// `left` stays in front of what fills the field where the field says so: a number's sign.
std::string padded(Budget& budget, std::string_view left, std::string_view right, const FieldSpec& spec,
                   char align) {
    const std::int64_t n =
        std::max<std::int64_t>(spec.width - count_code_points(left) - count_code_points(right), 0);
    const std::int64_t n_before = align == '^' ? n / 2 : align == '<' ? 0 : n;
    const std::string fill = spec.pads_zeros ? "0" : spec.fill;
    TextBuilder out(budget);
    if (align == '=') out.append(left);
    out.append(n_before, fill);
    if (align != '=') out.append(left);
    out.append(right);
    out.append(n - n_before, fill);
    return std::move(out).take();
}

std::string format_number(Budget& budget, NumberText text, const FieldSpec& spec) {
    if (spec.grouping != '\0') group(text, spec.grouping);
    std::string sign;
    if (text.is_negative)
        sign = "-";
    else if (spec.sign != '-')
        sign = std::string(1, spec.sign);
    const char otherwise = spec.pads_zeros ? '=' : '>';
    return padded(budget, sign + text.prefix, text.digits, spec, spec.align != '\0' ? spec.align : otherwise);
}

std::string format_string(Budget& budget, std::string_view text, const FieldSpec& spec) {
    if (spec.align == '=' || spec.sign != '-' || spec.grouping != '\0')
        fail(ErrorKind::bad_input, "a string cannot be formatted like a number");
    std::string_view rest = text;
    if (spec.precision) {
        for (int n = *spec.precision; n > 0 && !rest.empty(); --n) take_char(rest);
        text.remove_suffix(rest.size());
    }
    return padded(budget, "", text, spec, spec.align != '\0' ? spec.align : '<');
}

std::string character(const Value& value) {
    const auto code = as_integer(value);
    if (!code || *code < 0 || *code > 0x10FFFF || (*code >= 0xD800 && *code < 0xE000))
        fail(ErrorKind::bad_input, "the format 'c' wants the number of a character");
    std::string out;
    append_utf8(out, static_cast<char32_t>(*code));
    return out;
}

bool is_one_of(char type, std::string_view types) { return type == '\0' || types.find(type) != types.npos; }

}  // namespace

std::optional<int> take_count(std::string_view& text) {
    if (text.empty() || !is_ascii_digit(text.front())) return std::nullopt;
    int count = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), count);
    if (parsed.ec != std::errc{} || count > kMaxCount)
        fail(ErrorKind::unsupported, "a width or precision beyond {} is not supported", kMaxCount);
    text.remove_prefix(static_cast<std::size_t>(parsed.ptr - text.data()));
    return count;
}

FieldSpec parse_field_spec(std::string_view text) {
    const std::string_view whole = text;
    FieldSpec spec;
    const auto take = [&](std::string_view chars, char& taken) {
        if (text.empty() || chars.find(text.front()) == chars.npos) return false;
        taken = text.front();
        text.remove_prefix(1);
        return true;
    };
    if (!text.empty()) {
        std::string_view rest = text;
        const std::string_view fill = take_char(rest);
        if (!rest.empty() && is_align(rest.front())) {
            spec.fill = fill;
            text = rest;
        }
        take("<>^=", spec.align);
    }
    char flag = '\0';
    take("+- ", spec.sign);
    spec.has_prefix = take("#", flag);
    spec.pads_zeros = take("0", flag);
    spec.width = take_count(text).value_or(0);
    take(",_", spec.grouping);
    if (take(".", flag)) {
        spec.precision = take_count(text);
        if (!spec.precision) fail(ErrorKind::bad_input, "the format '{}' lacks its precision", whole);
    }
    take("bcdeEfFgGnosxX%", spec.type);
    if (!text.empty()) fail(ErrorKind::bad_input, "the format '{}' is malformed at '{}'", whole, text);
    return spec;
}

std::string format_field(Budget& budget, const Value& value, const FieldSpec& spec) {
    const bool is_real = value.get<double>() != nullptr;
    if (is_number(value)) {
        if (spec.type == 'c') return format_string(budget, character(value), spec);
        if (is_one_of(spec.type, is_real ? "eEfFgGn%" : "eEfFgG%") && (is_real || spec.type != '\0')) {
            if (spec.precision.value_or(0) > kMaxPrecision)
                fail(ErrorKind::unsupported, "a precision beyond {} is not supported", kMaxPrecision);
            return format_number(budget, real_number_text(value, spec), spec);
        }
        if (!is_real && is_one_of(spec.type, "bdnoxX"))
            return format_number(budget, integer_text(budget, value, spec), spec);
        fail_type(value, spec.type);
    }
    if (!is_one_of(spec.type, "s")) fail_type(value, spec.type);
    return format_string(budget, to_text(budget, value), spec);
}

}  // namespace greenroom::text::jinja
