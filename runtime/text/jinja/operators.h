#pragma once

// What +, ==, <, in and their like mean between two values: Python's rules, with its words where they fail.

#include "runtime/text/jinja/numbers.h"
#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/value.h"

#include <cstdint>

namespace greenroom::text::jinja {

enum class Comparison : std::uint8_t {
    equal,
    not_equal,
    less,
    less_equal,
    greater,
    greater_equal,
    in,
    not_in
};

// Never fails: what cannot be equal is not.
bool equal(Budget& budget, const Value& a, const Value& b);

// Error{bad_input} for values without an order between them, and for containers that are none.
bool compare(Budget& budget, Comparison comparison, const Value& a, const Value& b);

// a + b and so on.
Value apply(Rendering& rendering, Arithmetic operation, const Value& a, const Value& b);

// -a; +a, which only wants a number.
Value apply_minus(Rendering& rendering, const Value& a);
Value apply_plus(const Value& a);

// Writes & < > ' and " as HTML does. A string that is markup is taken as it is; anything else by its str().
std::string escape_markup(Budget& budget, const Value& value);

}  // namespace greenroom::text::jinja
