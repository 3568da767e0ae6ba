#pragma once

// Python's numbers: integers of any size, floats, and bools, which are integers.
//
// An integer beyond 64 bits keeps its digits, prints and compares; computing with one, or a result beyond 64
// bits, is Error{unsupported}.

#include "runtime/text/jinja/value.h"

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace greenroom::text::jinja {

bool is_number(const Value& value) noexcept;  // bool, int, float
bool is_nan(const Value& value) noexcept;

// An int or bool; empty for anything else.
std::optional<std::int64_t> as_integer(const Value& value);

// The most digits of an integer; Python's limit too, which keeps their cost small.
inline constexpr std::size_t kMaxDigits = 4300;

// Decimal digits, perhaps after a '-'. Error{bad_input} for more than kMaxDigits.
Value parse_integer(std::string_view digits, Budget* budget = nullptr);

// As Python's float() reads it: blanks around and underscores between digits are fine, "inf" and "nan" too.
std::optional<double> parse_real(std::string_view text);

// As Python prints it: 1.0, 1e+20, inf.
std::string real_text(double value);

// Of a number. Error{bad_input} for an integer beyond the range.
double to_real(const Value& number);

// The integer part, whatever its size; Error{bad_input} for inf and nan.
Value truncate_real(double value, Budget* budget);

// Exact, also between an integer and a float. Precondition: both are numbers.
std::partial_ordering compare_numbers(const Value& a, const Value& b);

enum class Arithmetic : std::uint8_t { add, subtract, multiply, divide, floor_divide, modulo, power };

std::string_view symbol(Arithmetic operation) noexcept;

// Precondition: both are numbers.
Value compute(Arithmetic operation, const Value& a, const Value& b);
Value negate(const Value& number, Budget* budget);

}  // namespace greenroom::text::jinja
