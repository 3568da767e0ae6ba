#pragma once

// Upper and lower case as Python's str methods map them: by Unicode's full mappings, so that "ß" becomes
// "SS".

#include <string>
#include <string_view>

namespace greenroom::text::jinja {

std::string to_upper(std::string_view text);
std::string to_lower(std::string_view text);
std::string capitalize(std::string_view text);  // the first character in title case, the others in lower case
std::string to_title(std::string_view text);    // every run of cased characters capitalized
std::string swap_case(std::string_view text);
std::string fold_case(std::string_view text);

// There is a cased character, and none of another case.
bool is_all_upper(std::string_view text) noexcept;
bool is_all_lower(std::string_view text) noexcept;
// There is a cased character, and just those that follow none are in upper or title case.
bool is_title_cased(std::string_view text) noexcept;

}  // namespace greenroom::text::jinja
