#pragma once

// Texts made from a pattern: "%s" % x, "{}".format(x), and what replaces parts of a text.

#include "runtime/text/jinja/call.h"
#include "runtime/text/jinja/rendering.h"
#include "runtime/text/jinja/value.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace greenroom::text::jinja {

// Python's pattern % values, values being a tuple, a dict for "%(name)s", or the only value.
Value format_percent(Rendering& rendering, const String& pattern, const Value& values);

// Python's pattern.format(…).
Value format_braces(Rendering& rendering, const String& pattern, const CallArguments& arguments);

// Python's text.replace(old, replacement, count). An empty `old` stands between all characters.
std::string replace_text(Budget& budget, std::string_view text, std::string_view old,
                         std::string_view replacement, std::int64_t count);

}  // namespace greenroom::text::jinja
