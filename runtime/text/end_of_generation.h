#pragma once

// Which tokens end an answer.

#include "runtime/text/vocabulary.h"

#include <vector>

namespace greenroom::text {

// Sorted ids: EOS, EOT and EOM of the metadata, and the end-of-turn tokens that are known by their text,
// which files often leave out.
std::vector<TokenId> end_of_generation_tokens(const Vocabulary& vocabulary);

}  // namespace greenroom::text
