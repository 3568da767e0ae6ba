#pragma once

// The filters of {{ value | name(…) }}: jinja2's, with transformers' tojson, and from_json.

#include "runtime/text/jinja/call.h"

#include <span>
#include <string_view>

namespace greenroom::text::jinja {

// nullptr: no filter of the name. A filter that jinja2 has and we don't is there; using it is
// Error{unsupported}.
const Builtin* find_filter(std::string_view name) noexcept;

// Error{bad_input} for an unknown name.
const Builtin& require_filter(std::string_view name);

std::span<const Builtin> text_filters() noexcept;
std::span<const Builtin> value_filters() noexcept;
std::span<const Builtin> sequence_filters() noexcept;
std::span<const Builtin> order_filters() noexcept;

// What attribute="a.b,c" of a filter leads to from an element: the values of its paths. A path may be an
// index, too.
class AttributePaths {
  public:
    // `attribute` is a string, an integer, or none for the element itself.
    AttributePaths(Rendering& rendering, const Value& attribute);

    Values get_all(const Value& element) const;
    Value get_first(const Value& element) const { return get_all(element).front(); }

  private:
    Rendering& rendering_;
    const Value& attribute_;
};

}  // namespace greenroom::text::jinja
