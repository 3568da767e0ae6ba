#pragma once

// Text and figures made fit for people and terminals.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace greenroom::tools {

// Text from a file for a terminal: control characters and bytes that are no UTF-8 are written as \n, \t or
// \x1b, a backslash as \\. At most max_chars characters of the text, then "…".
std::string printable(std::string_view text, std::size_t max_chars = std::string_view::npos);

// "13.5 MiB"; up to 1023 "512 B".
std::string human_bytes(std::int64_t bytes);

// "20.3 M", "671.0 B" (10^9); up to 999 "512".
std::string human_count(std::int64_t count);

// "1 thread", "2 threads".
std::string counted(std::int64_t count, std::string_view one);

}  // namespace greenroom::tools
