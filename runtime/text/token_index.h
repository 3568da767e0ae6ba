#pragma once

// TokenIndex: finds the token that stands for given bytes. An open-addressing hash table of ids: a look-up
// allocates nothing and compares with the PieceTable, which must outlive it. Immutable; any thread.

#include "runtime/text/piece_table.h"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace greenroom::text {

class TokenIndex {
  public:
    // Holds the normal tokens, which are those that merging may produce: control tokens and their like are
    // never found. Of several tokens with the same bytes the last one counts, as in llama.cpp.
    TokenIndex(const PieceTable& pieces, std::span<const TokenType> types);

    // kNoToken when there is none.
    TokenId find(std::string_view bytes) const noexcept;

    // Bytes of the longest token.
    std::size_t longest() const noexcept { return longest_; }

  private:
    struct Slot {
        std::uint32_t hash = 0;  // spares most comparisons, each of which would miss the cache
        TokenId id = kNoToken;
    };

    // Where `bytes` stand, or the empty slot where they would go.
    std::size_t locate(std::string_view bytes, std::uint64_t hash) const noexcept;

    const PieceTable* pieces_;
    std::vector<Slot> slots_;  // a power of two, at most half full, so that a search ends
    std::size_t longest_ = 0;
};

}  // namespace greenroom::text
