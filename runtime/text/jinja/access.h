#pragma once

// What lies within a value: object.name, object[index], object[start:stop:step], as jinja2's sandbox gives
// them.

#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/value.h"

#include <string_view>

namespace greenroom::text::jinja {

// Attributes and methods first, then items. Undefined when there is neither, and for what the sandbox hides.
// Error{bad_input} when the object itself is undefined.
Value get_attribute(Rendering& rendering, const Value& object, std::string_view name);

// Items first, then attributes.
Value get_item(Rendering& rendering, const Value& object, const Value& key);

// A part that is left out is none.
Value get_slice(Rendering& rendering, const Value& object, const Value& start, const Value& stop,
                const Value& step);

// "a.b.0" of filters like map(attribute=…): each part an index or a key.
Value get_path(Rendering& rendering, Value object, std::string_view path);

}  // namespace greenroom::text::jinja
