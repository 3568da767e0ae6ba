#pragma once

// Lists of cache sizes on the command line.

#include <string>
#include <string_view>
#include <vector>

namespace greenroom::tools {

// "15,30,60" or "5..90" (in steps of 5) or both, in percent from 1 to 100, as fractions, rising, each once. A
// mistake is bad usage of `flag`.
std::vector<double> parse_percent_list(const std::string& flag, std::string_view text);

}  // namespace greenroom::tools
