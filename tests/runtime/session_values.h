#pragma once

// What tests feed sessions with, and what they compare.

#include "runtime/session.h"

#include <cstddef>
#include <numeric>
#include <vector>

namespace greenroom::runtime {

// n tokens: first, first + 1, …
inline std::vector<text::TokenId> numbers(int first, int n) {
    std::vector<text::TokenId> tokens(static_cast<std::size_t>(n));
    std::iota(tokens.begin(), tokens.end(), first);
    return tokens;
}

inline std::vector<float> logits_of(const Session& session) {
    return {session.logits().begin(), session.logits().end()};
}

}  // namespace greenroom::runtime
