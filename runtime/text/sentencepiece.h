#pragma once

// SentencePiece: byte pair encoding over whole texts (tokenizer.ggml.model "llama"). Characters merge into
// tokens, best score first; a character that is in no token becomes its bytes. Immutable; any thread. Keeps a
// reference to the PieceTable.

#include "runtime/text/token_index.h"
#include "runtime/text/vocabulary.h"

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace greenroom::text {

class SentencePiece {
  public:
    // Error{bad_input} when a byte token is missing.
    SentencePiece(const Vocabulary& vocabulary, const PieceTable& pieces);

    // Appends the ids. No dummy prefix is added here. Precondition: valid UTF-8 with plain spaces
    // (with_plain_spaces: "▁" is the vocabulary's spelling of a space, and a "▁" in the text means the same),
    // below 2^31 bytes.
    void encode(std::string_view text, std::vector<TokenId>& ids) const;

  private:
    TokenIndex index_;
    std::vector<std::uint32_t>
        ranks_;  // by id: the order of the scores, the highest first; equal scores, equal ranks
    std::array<TokenId, 256> byte_tokens_{};
};

}  // namespace greenroom::text
