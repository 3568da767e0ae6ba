#pragma once

// Bpe: byte-level byte pair encoding (tokenizer.ggml.model "gpt2"). Text is cut by the pre-tokenizer; within
// a piece, bytes merge by rank. Immutable; any thread. Keeps a reference to the PieceTable.

#include "runtime/text/pre_tokenizer.h"
#include "runtime/text/token_index.h"
#include "runtime/text/vocabulary.h"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text {

struct PairMerge;

// The merges by their two tokens: an open-addressing hash table.
class MergeTable {
  public:
    explicit MergeTable(std::size_t n_merges);

    // The first merge of a pair counts.
    void add(TokenId left, TokenId right, std::uint32_t rank, TokenId merged);
    std::optional<PairMerge> find(TokenId left, TokenId right) const noexcept;

  private:
    struct Slot {
        TokenId left = kNoToken;  // kNoToken: empty
        TokenId right = kNoToken;
        std::uint32_t rank = 0;
        TokenId merged = kNoToken;
    };

    std::size_t locate(TokenId left, TokenId right) const noexcept;

    std::vector<Slot> slots_;  // a power of two, at most half full, so that a search ends
};

class Bpe {
  public:
    // Error{bad_input} for a merge that is not made of tokens, or when a byte that UTF-8 needs has no token.
    Bpe(const Vocabulary& vocabulary, const PieceTable& pieces);

    // Appends the ids. Precondition: valid UTF-8, below 2^31 bytes also in NFC.
    void encode(std::string_view text, std::vector<TokenId>& ids) const;

  private:
    void add_merges(const Vocabulary& vocabulary);

    PreTokenizer pre_tokenizer_;
    TokenIndex index_;
    MergeTable merges_;
    std::array<TokenId, 256> byte_tokens_{};  // kNoToken for some of the bytes that are in no UTF-8
};

}  // namespace greenroom::text
