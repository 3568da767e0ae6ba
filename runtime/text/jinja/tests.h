#pragma once

// The tests of {{ value is name(…) }}: jinja2's.

#include "runtime/text/jinja/call.h"

#include <string_view>

namespace greenroom::text::jinja {

// nullptr: no test of the name.
const Builtin* find_test(std::string_view name) noexcept;

// Error{bad_input} for an unknown name.
const Builtin& require_test(std::string_view name);

}  // namespace greenroom::text::jinja
