#pragma once

// The functions that every template can call: range, dict, namespace, raise_exception, strftime_now.

#include "runtime/text/jinja/call.h"

#include <string_view>

namespace greenroom::text::jinja {

// nullptr: none of the name.
const Builtin* find_function(std::string_view name) noexcept;

}  // namespace greenroom::text::jinja
