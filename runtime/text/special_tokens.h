#pragma once

// SpecialTokenSplitter: finds the tokens that are taken from text as a whole, before any merging: control
// tokens (on request) and user-defined ones (always). Immutable; any thread. Keeps a reference to the
// PieceTable.

#include "runtime/text/piece_table.h"
#include "runtime/text/tokenizer.h"

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace greenroom::text {

// A stretch of the input: a special token, or text between two.
struct Run {
    std::string_view text;
    TokenId special = kNoToken;  // kNoToken: text to be tokenized
};

class SpecialTokenSplitter {
  public:
    SpecialTokenSplitter(const Vocabulary& vocabulary, const PieceTable& pieces);

    // The runs add up to `text`; none is empty. Of the special tokens that begin at a place the longest
    // counts, and it is searched from left to right, as in Hugging Face tokenizers.
    std::vector<Run> split(std::string_view text, SpecialTokens special) const;

  private:
    // Ids of tokens in the order of their bytes, and the part of them that each first byte begins.
    struct Dictionary {
        std::vector<TokenId> sorted;
        std::array<std::uint32_t, 257> first_byte_begins{};
    };

    Dictionary make_dictionary(std::vector<TokenId> ids) const;
    TokenId longest_match(const Dictionary& dictionary, std::string_view text) const noexcept;

    const PieceTable& pieces_;
    Dictionary all_;
    Dictionary user_defined_;
};

}  // namespace greenroom::text
