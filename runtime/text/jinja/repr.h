#pragma once

// Values as text: Python's str() and repr().

#include "runtime/text/jinja/value.h"

#include <string>

namespace greenroom::text::jinja {

// str(): what {{ … }} prints. Strings as they are, undefined as nothing, containers by the repr() of their
// elements.
void append_text(TextBuilder& out, const Value& value);
void append_repr(TextBuilder& out, const Value& value);

std::string to_text(Budget& budget, const Value& value);

// repr() of a string, for messages: 'name'.
std::string quoted(std::string_view text);

}  // namespace greenroom::text::jinja
