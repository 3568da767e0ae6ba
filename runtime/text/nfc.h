#pragma once

// Unicode normalization form C: what some tokenizers were trained behind ("e" + U+0301 is read as "é").

#include <string>
#include <string_view>

namespace greenroom::text {

// False means that the text is in NFC already, at the price of one pass over the bytes. True means: perhaps
// not.
bool may_need_nfc(std::string_view utf8) noexcept;

// Precondition: the text is valid UTF-8.
std::string to_nfc(std::string_view utf8);

}  // namespace greenroom::text
