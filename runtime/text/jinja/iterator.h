#pragma once

// Iterator: the elements of a value one by one, as Python's for statement takes them. Characters of a string,
// keys of a dict, nothing of an undefined value; a generator loses what is taken.

#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/value.h"

#include <cstddef>
#include <optional>

namespace greenroom::text::jinja {

bool is_iterable(const Value& value) noexcept;

class Iterator {
  public:
    // Error{bad_input} if the value is not iterable.
    Iterator(Rendering& rendering, Value source);

    // Empty at the end.
    std::optional<Value> next();

  private:
    Rendering& rendering_;
    Value source_;
    std::size_t at_ = 0;  // an element; a byte of a string
};

// All that is left of an iterable value.
Values to_items(Rendering& rendering, const Value& value);

// Python's len(). Error{bad_input} if it has none: numbers, generators.
std::int64_t length(const Value& value);

}  // namespace greenroom::text::jinja
