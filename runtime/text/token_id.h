#pragma once

// TokenId: the number of a token in its vocabulary, as logits are indexed and prompts are stored.

#include <cstdint>

namespace greenroom::text {

using TokenId = std::int32_t;

// What a look-up gives when there is no such token.
inline constexpr TokenId kNoToken = -1;

}  // namespace greenroom::text
