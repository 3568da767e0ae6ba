// Filters on a single value: numbers, JSON, defaults.

#include "quant/base/error.h"
#include "runtime/text/jinja/code_points.h"
#include "runtime/text/jinja/filters.h"
#include "runtime/text/jinja/iterator.h"
#include "runtime/text/jinja/json.h"
#include "runtime/text/jinja/numbers.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <compare>
#include <optional>

namespace greenroom::text::jinja {
namespace {

Value absolute(Call& call) {
    const Value& input = call.self();
    if (!is_number(input)) fail(ErrorKind::bad_input, "bad operand type for abs(): '{}'", type_name(input));
    if (const double* real = input.get<double>()) return Value::real(std::fabs(*real));
    const bool is_negative = std::is_lt(compare_numbers(input, Value::integer(0)));
    if (!is_negative) return input.get<bool>() == nullptr ? input : Value::integer(input.truth() ? 1 : 0);
    return negate(input, &call.budget());
}

Value default_value(Call& call) {
    const bool replaces_false = call.truth(1, false);
    if (!call.self().is_undefined() && !(replaces_false && !call.self().truth())) return call.self();
    return call.find(0) == nullptr ? call.rendering().string("") : call.get(0);
}

// Takes "0x" and its like in front of digits of that base.
void take_base_prefix(std::string_view& digits, std::int64_t base) {
    const char letter = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : '\0';
    if (letter != '\0' && digits.size() > 2 && digits[0] == '0' && (digits[1] | 0x20) == letter)
        digits.remove_prefix(2);
}

// As Python's int(text, base) reads it: blanks around it and underscores between digits are fine.
std::optional<Value> integer_from_text(std::string_view text, std::int64_t base, Budget& budget) {
    if (base < 2 || base > 36) fail(ErrorKind::unsupported, "the base {} is not supported", base);
    budget.work(4 * text.size());
    text = strip(text);
    const bool is_negative = text.starts_with('-');
    if (is_negative || text.starts_with('+')) text.remove_prefix(1);
    take_base_prefix(text, base);
    std::string digits = is_negative ? "-" : "";
    bool after_digit = false;
    for (const char c : text) {
        if (c == '_' && after_digit) {
            after_digit = false;
            continue;
        }
        const int value = is_ascii_digit(c)                        ? c - '0'
                          : (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10
                                                                   : 36;
        if (value >= base) return std::nullopt;
        digits += c;
        after_digit = true;
    }
    if (!after_digit || digits.size() > kMaxDigits) return std::nullopt;
    if (base == 10) return parse_integer(digits, &budget);
    std::int64_t value = 0;
    const auto parsed =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, static_cast<int>(base));
    if (parsed.ec != std::errc{})
        fail(ErrorKind::unsupported, "integers beyond 64 bits in base {} are not supported", base);
    return Value::integer(value);
}

Value to_integer(Call& call) {
    const Value& input = call.self();
    expect_defined(input);
    Value otherwise = call.find(0) == nullptr ? Value::integer(0) : call.get(0);
    std::optional<double> real;
    if (const String* text = input.get<String>()) {
        if (auto integer = integer_from_text(text->bytes, call.integer(1, 10), call.budget()))
            return *integer;
        real = parse_real(text->bytes);
        if (!real || !std::isfinite(*real)) return otherwise;  // "42.7" counts, "inf" does not
    } else if (is_number(input)) {
        if (const bool* flag = input.get<bool>()) return Value::integer(*flag ? 1 : 0);
        if (input.get<double>() == nullptr) return input;
        real = to_real(input);
    }
    return !real || std::isnan(*real) ? otherwise : truncate_real(*real, &call.budget());
}

Value to_float(Call& call) {
    const Value& input = call.self();
    expect_defined(input);
    if (is_number(input)) return Value::real(to_real(input));
    if (const String* text = input.get<String>()) {
        call.budget().work(4 * text->bytes.size());
        if (const auto real = parse_real(text->bytes)) return Value::real(*real);
    }
    return call.find(0) == nullptr ? Value::real(0) : call.get(0);
}

// To the nearest multiple of 10^-precision, ties to the even one, as exactly as the value is given.
Value round_to_nearest(Call& call, std::int64_t precision) {
    const Value& input = call.self();
    if (const double* real = input.get<double>()) {
        if (!std::isfinite(*real)) return input;
        if (precision < 0) {
            const double scale = std::pow(10.0, static_cast<double>(std::min<std::int64_t>(-precision, 400)));
            return Value::real(std::isinf(scale) ? 0 : std::nearbyint(*real / scale) * scale);
        }
        // A float has no more than 1074 decimals.
        const auto decimals = static_cast<int>(std::min<std::int64_t>(precision, 1074));
        return Value::real(parse_real(fmt::format("{:.{}f}", *real, decimals)).value_or(*real));
    }
    const auto integer = as_integer(input);
    if (precision >= 0) return integer ? Value::integer(*integer) : input;
    if (!integer) fail(ErrorKind::unsupported, "rounding integers beyond 64 bits is not supported");
    if (precision < -18) return Value::integer(0);
    std::int64_t scale = 1;
    for (; precision < 0; ++precision) scale *= 10;
    std::int64_t quotient = *integer / scale;
    const std::int64_t rest = std::abs(*integer % scale);
    if (rest > scale - rest || (rest == scale - rest && quotient % 2 != 0)) quotient += *integer < 0 ? -1 : 1;
    return compute(Arithmetic::multiply, Value::integer(quotient), Value::integer(scale));
}

Value round(Call& call) {
    expect_defined(call.self());
    if (!is_number(call.self()))
        fail(ErrorKind::bad_input, "type {} doesn't define __round__ method", type_name(call.self()));
    const std::int64_t precision = call.integer(0, 0);
    const std::string_view method = call.text(1, "common");
    if (method == "common") return round_to_nearest(call, precision);
    if (method != "ceil" && method != "floor")
        fail(ErrorKind::bad_input, "round: the method must be common, ceil or floor, not '{}'", method);
    const double scale = std::pow(10.0, static_cast<double>(precision));
    const double scaled = to_real(call.self()) * scale;
    if (!std::isfinite(scaled) || scale == 0) fail(ErrorKind::bad_input, "round: the value is out of range");
    const double whole = method == "ceil" ? std::ceil(scaled) : std::floor(scaled);
    return Value::real((whole + 0.0) / scale);  // Python's floor is an int, which has no -0
}

Value to_json(Call& call) {
    JsonStyle style;
    style.escapes_non_ascii = call.truth(0, false);
    if (const Value* indent = call.find_given(1)) {
        TextBuilder text(call.budget());
        if (indent->is_string())
            text.append(call.text(1));
        else
            text.append(call.integer(1, 0), " ");
        style.indent = std::move(text).take();
        style.item_separator = ",";
    }
    if (call.find_given(2) != nullptr) {
        const Values separators = to_items(call.rendering(), call.get(2));
        if (separators.size() != 2)
            fail(ErrorKind::bad_input, "tojson: separators has {} elements; expected 2", separators.size());
        style.item_separator = expect_text(separators[0], "tojson: a separator");
        style.key_separator = expect_text(separators[1], "tojson: a separator");
    }
    style.sorts_keys = call.truth(3, false);
    return write_json(call.budget(), call.self(), style);
}

Value from_json(Call& call) {
    return parse_json(expect_text(call.self(), "from_json: the input"), &call.budget());
}

Value count(Call& call) { return Value::integer(length(call.self())); }

}  // namespace

std::span<const Builtin> value_filters() noexcept {
    static constexpr std::array<Builtin, 10> kFilters = {{
        {"abs", "", absolute},
        {"count", "", count},
        {"d", "default_value? boolean?", default_value},
        {"default", "default_value? boolean?", default_value},
        {"float", "default?", to_float},
        {"from_json", "", from_json},
        {"int", "default? base?", to_integer},
        {"length", "", count},
        {"round", "precision? method?", round},
        {"tojson", "ensure_ascii? indent? separators? sort_keys?", to_json},
    }};
    return kFilters;
}

}  // namespace greenroom::text::jinja
