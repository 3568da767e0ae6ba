#include "runtime/text/jinja/numbers.h"

#include "quant/base/error.h"
#include "runtime/text/jinja/code_points.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace greenroom::text::jinja {
namespace {

constexpr double kTwo63 = 9223372036854775808.0;

Value make_big_integer(std::string digits, Budget* budget) {
    Share share(budget, sizeof(BigInteger) + digits.size());
    return Value(std::make_shared<const BigInteger>(BigInteger{std::move(digits), std::move(share)}));
}

std::strong_ordering compare_digits(std::string_view a, std::string_view b) {
    const bool a_negative = a.starts_with('-');
    if (a_negative != b.starts_with('-'))
        return a_negative ? std::strong_ordering::less : std::strong_ordering::greater;
    if (a_negative) return compare_digits(b.substr(1), a.substr(1));
    return a.size() != b.size() ? a.size() <=> b.size() : a <=> b;
}

// The digits of an integral value of at least 2^63; every one of them is exact.
std::string integral_digits(double value) { return fmt::format("{:.0f}", value); }

std::partial_ordering compare_big(const BigInteger& a, const Value& b) {
    const bool a_negative = a.digits.starts_with('-');
    if (const auto* other = b.get<BigInteger>()) return compare_digits(a.digits, other->digits);
    if (const double* real = b.get<double>(); real != nullptr && std::fabs(*real) >= kTwo63) {
        if (std::isinf(*real))
            return *real > 0 ? std::partial_ordering::less : std::partial_ordering::greater;
        return compare_digits(a.digits, integral_digits(*real));
    }
    if (is_nan(b)) return std::partial_ordering::unordered;
    return a_negative ? std::partial_ordering::less : std::partial_ordering::greater;
}

std::partial_ordering compare_mixed(std::int64_t a, double b) {
    if (std::isnan(b)) return std::partial_ordering::unordered;
    if (std::fabs(b) >= kTwo63)
        return b < 0 && b != -kTwo63 ? std::partial_ordering::greater
               : b > 0               ? std::partial_ordering::less
                                     : a <=> std::numeric_limits<std::int64_t>::min();
    const double whole = std::trunc(b);
    const auto order = a <=> static_cast<std::int64_t>(whole);
    return std::is_neq(order) ? order : 0.0 <=> b - whole;
}

std::partial_ordering reversed(std::partial_ordering order) {
    if (std::is_lt(order)) return std::partial_ordering::greater;
    return std::is_gt(order) ? std::partial_ordering::less : order;
}

std::int64_t expect_64_bits(const Value& value) {
    if (const auto integer = as_integer(value)) return *integer;
    fail(ErrorKind::unsupported, "computing with integers beyond 64 bits is not supported");
}

[[noreturn]] void fail_beyond_64_bits(Arithmetic operation) {
    fail(ErrorKind::unsupported, "the result of '{}' is beyond 64 bits, which is not supported",
         symbol(operation));
}

[[noreturn]] void fail_zero_division() { fail(ErrorKind::bad_input, "division by zero"); }

// Rounds to the left, where C++ rounds to zero.
std::int64_t floor_modulo(std::int64_t a, std::int64_t b) {
    if (b == -1) return 0;  // the quotient of the smallest integer would not fit
    const std::int64_t rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

std::int64_t integer_power(std::int64_t base, std::int64_t exponent) {
    std::int64_t result = 1;
    for (; exponent > 0; exponent /= 2) {
        if (exponent % 2 != 0 && __builtin_mul_overflow(result, base, &result))
            fail_beyond_64_bits(Arithmetic::power);
        if (exponent > 1 && __builtin_mul_overflow(base, base, &base)) fail_beyond_64_bits(Arithmetic::power);
    }
    return result;
}

double real_power(double base, double exponent) {
    if (base == 0 && exponent < 0) fail(ErrorKind::bad_input, "0.0 cannot be raised to a negative power");
    if (base < 0 && std::isfinite(base) && std::isfinite(exponent) && exponent != std::trunc(exponent))
        fail(ErrorKind::unsupported, "complex numbers are not supported");
    const double result = std::pow(base, exponent);
    if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent))
        fail(ErrorKind::bad_input, "the result of '**' is out of range");
    return result;
}

double floor_modulo(double a, double b) {
    const double rest = std::fmod(a, b);
    if (rest == 0) return std::copysign(0.0, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
}

// By way of the rest, which is exact where the quotient is rounded.
double floor_divide(double a, double b) {
    const double rest = std::fmod(a, b);
    double quotient = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) quotient -= 1;
    if (quotient == 0) return std::copysign(0.0, a / b);
    const double floored = std::floor(quotient);
    return quotient - floored > 0.5 ? floored + 1 : floored;
}

Value compute_integers(Arithmetic operation, std::int64_t a, std::int64_t b) {
    std::int64_t result = 0;
    bool overflows = false;
    switch (operation) {
        case Arithmetic::add:
            overflows = __builtin_add_overflow(a, b, &result);
            break;
        case Arithmetic::subtract:
            overflows = __builtin_sub_overflow(a, b, &result);
            break;
        case Arithmetic::multiply:
            overflows = __builtin_mul_overflow(a, b, &result);
            break;
        case Arithmetic::divide:
            if (b == 0) fail_zero_division();
            // long double holds every 64-bit integer.
            return Value::real(
                static_cast<double>(static_cast<long double>(a) / static_cast<long double>(b)));
        case Arithmetic::floor_divide:
            if (b == 0) fail_zero_division();
            if (b == -1) {
                overflows = __builtin_sub_overflow(std::int64_t{0}, a, &result);
            } else {
                result = a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
            }
            break;
        case Arithmetic::modulo:
            if (b == 0) fail_zero_division();
            result = floor_modulo(a, b);
            break;
        case Arithmetic::power:
            if (b < 0) return Value::real(real_power(static_cast<double>(a), static_cast<double>(b)));
            result = integer_power(a, b);
            break;
    }
    if (overflows) fail_beyond_64_bits(operation);
    return Value::integer(result);
}

double compute_reals(Arithmetic operation, double a, double b) {
    switch (operation) {
        case Arithmetic::add:
            return a + b;
        case Arithmetic::subtract:
            return a - b;
        case Arithmetic::multiply:
            return a * b;
        case Arithmetic::power:
            return real_power(a, b);
        case Arithmetic::divide:
        case Arithmetic::floor_divide:
        case Arithmetic::modulo:
            break;
    }
    if (b == 0) fail_zero_division();
    if (operation == Arithmetic::divide) return a / b;
    return operation == Arithmetic::modulo ? floor_modulo(a, b) : floor_divide(a, b);
}

}  // namespace

bool is_number(const Value& value) noexcept {
    return value.get<std::int64_t>() != nullptr || value.get<double>() != nullptr ||
           value.get<bool>() != nullptr || value.get<BigInteger>() != nullptr;
}

bool is_nan(const Value& value) noexcept {
    const double* real = value.get<double>();
    return real != nullptr && std::isnan(*real);
}

std::optional<std::int64_t> as_integer(const Value& value) {
    if (const auto* integer = value.get<std::int64_t>()) return *integer;
    if (const bool* flag = value.get<bool>()) return *flag ? 1 : 0;
    return std::nullopt;
}

Value parse_integer(std::string_view digits, Budget* budget) {
    const bool negative = digits.starts_with('-');
    if (negative) digits.remove_prefix(1);
    digits.remove_prefix(std::min(digits.find_first_not_of('0'), digits.size()));
    if (digits.empty()) return Value::integer(0);
    if (digits.size() > kMaxDigits)
        fail(ErrorKind::bad_input, "an integer has {} digits; the limit is {}", digits.size(), kMaxDigits);
    const std::string canonical = (negative ? "-" : "") + std::string(digits);
    std::int64_t small = 0;
    const auto parsed = std::from_chars(canonical.data(), canonical.data() + canonical.size(), small);
    return parsed.ec == std::errc{} ? Value::integer(small) : make_big_integer(canonical, budget);
}

std::optional<double> parse_real(std::string_view text) {
    text = strip(text);
    std::string clean;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const auto is_digit_at = [&](std::size_t at) { return at < text.size() && is_ascii_digit(text[at]); };
        if (text[i] != '_')
            clean += text[i];
        else if (i == 0 || !is_digit_at(i - 1) || !is_digit_at(i + 1))
            return std::nullopt;
    }
    std::string_view digits = clean;
    if (digits.starts_with('+')) digits.remove_prefix(1);
    if (digits.starts_with("+") || (clean.starts_with('+') && digits.starts_with('-'))) return std::nullopt;
    double value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (parsed.ptr != digits.data() + digits.size() || digits.empty() || digits.find('(') != digits.npos)
        return std::nullopt;
    if (parsed.ec == std::errc::result_out_of_range) {
        // from_chars leaves the value alone: too large for a float, or too close to zero.
        const std::size_t exponent = digits.find_first_of("eE");
        const bool is_tiny = exponent != digits.npos ? digits[exponent + 1] == '-'
                                                     : digits.find_first_of("123456789.") == digits.find('.');
        value = is_tiny ? 0.0 : std::numeric_limits<double>::infinity();
        return digits.starts_with('-') ? -value : value;
    }
    return parsed.ec == std::errc{} ? std::optional(value) : std::nullopt;
}

std::string real_text(double value) {
    std::string text = fmt::format("{}", value);
    if (text.find_first_not_of("-0123456789") == text.npos) text += ".0";
    return text;
}

double to_real(const Value& number) {
    if (const double* real = number.get<double>()) return *real;
    if (const auto* big = number.get<BigInteger>()) {
        const double value = parse_real(big->digits).value_or(std::numeric_limits<double>::infinity());
        if (std::isinf(value)) fail(ErrorKind::bad_input, "int too large to convert to float");
        return value;
    }
    return static_cast<double>(as_integer(number).value_or(0));
}

Value truncate_real(double value, Budget* budget) {
    if (!std::isfinite(value))
        fail(ErrorKind::bad_input, "cannot convert float {} to integer",
             std::isnan(value) ? "NaN" : "infinity");
    if (std::fabs(value) < kTwo63) return Value::integer(static_cast<std::int64_t>(value));
    return parse_integer(integral_digits(value), budget);
}

std::partial_ordering compare_numbers(const Value& a, const Value& b) {
    if (const auto* big = a.get<BigInteger>()) return compare_big(*big, b);
    if (const auto* big = b.get<BigInteger>()) return reversed(compare_big(*big, a));
    const double* a_real = a.get<double>();
    const double* b_real = b.get<double>();
    if (a_real != nullptr && b_real != nullptr) return *a_real <=> *b_real;
    if (a_real != nullptr) return reversed(compare_mixed(as_integer(b).value_or(0), *a_real));
    if (b_real != nullptr) return compare_mixed(as_integer(a).value_or(0), *b_real);
    return as_integer(a).value_or(0) <=> as_integer(b).value_or(0);
}

std::string_view symbol(Arithmetic operation) noexcept {
    switch (operation) {
        case Arithmetic::add:
            return "+";
        case Arithmetic::subtract:
            return "-";
        case Arithmetic::multiply:
            return "*";
        case Arithmetic::divide:
            return "/";
        case Arithmetic::floor_divide:
            return "//";
        case Arithmetic::modulo:
            return "%";
        case Arithmetic::power:
            return "**";
    }
    return "?";
}

Value compute(Arithmetic operation, const Value& a, const Value& b) {
    if (a.get<double>() != nullptr || b.get<double>() != nullptr)
        return Value::real(compute_reals(operation, to_real(a), to_real(b)));
    return compute_integers(operation, expect_64_bits(a), expect_64_bits(b));
}

Value negate(const Value& number, Budget* budget) {
    if (const double* real = number.get<double>()) return Value::real(-*real);
    if (const auto* big = number.get<BigInteger>()) {
        const std::string& digits = big->digits;
        return parse_integer(digits.starts_with('-') ? digits.substr(1) : "-" + digits, budget);
    }
    const std::int64_t value = as_integer(number).value_or(0);
    if (value == std::numeric_limits<std::int64_t>::min())
        return parse_integer(std::to_string(value).substr(1), budget);
    return Value::integer(-value);
}

}  // namespace greenroom::text::jinja
