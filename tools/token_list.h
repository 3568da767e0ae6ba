#pragma once

#include "runtime/text/tokenizer.h"

#include <string>
#include <vector>

namespace greenroom::tools {

// The value of a flag that lists token ids: "1,2,3", or "@FILE" for a file that holds them; separated by
// commas or blanks. At least one. Exit code 2 for a list in the flag that is none, Error{bad_input} or {io}
// for the file.
std::vector<text::TokenId> parse_token_list(const std::string& flag, const std::string& value);

}  // namespace greenroom::tools
