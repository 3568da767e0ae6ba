#include "runtime/prefix_reuse.h"

#include <algorithm>

namespace greenroom::runtime {

std::span<const text::TokenId> reuse_prefix(Session& session, std::span<const text::TokenId> prompt) {
    const std::span<const text::TokenId> there = session.tokens();
    const auto differs = std::mismatch(prompt.begin(), prompt.end(), there.begin(), there.end()).first;
    auto n_common = static_cast<std::size_t>(differs - prompt.begin());
    if (n_common > 0 && n_common == prompt.size()) --n_common;
    return prompt.subspan(static_cast<std::size_t>(session.truncate(static_cast<std::int64_t>(n_common))));
}

}  // namespace greenroom::runtime
