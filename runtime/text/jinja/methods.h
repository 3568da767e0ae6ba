#pragma once

// The methods of strings, lists, tuples, dicts and loops.

#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/value.h"

#include <span>
#include <string_view>

namespace greenroom::text::jinja {

// nullptr: the type has no such method. A method that Python has and we don't is there, and calling it is
// Error{unsupported}, so that it hides an item of the same name as it does in Python.
const Builtin* find_method(const Value& object, std::string_view name) noexcept;

// list.append() and its like, which the sandbox refuses.
bool is_mutating_method(const Value& object, std::string_view name) noexcept;

std::span<const Builtin> string_methods() noexcept;
std::span<const Builtin> string_search_methods() noexcept;
std::span<const Builtin> sequence_methods() noexcept;
std::span<const Builtin> dict_methods() noexcept;

}  // namespace greenroom::text::jinja
