#pragma once

// What jinja_fuzz.cpp does with an input, for the test that replays its seeds.

#include <string>
#include <string_view>

namespace greenroom::text::jinja {

// The input as a template, or a template, a NUL byte and its variables as JSON; rendered within small limits.
// Error as they are thrown.
std::string render_fuzz_input(std::string_view input);

}  // namespace greenroom::text::jinja
