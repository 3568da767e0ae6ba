#pragma once

// Vocabulary: what tokenizer.ggml.* of a GGUF file says, checked and typed. It is read once, to build a
// Tokenizer from.

#include "quant/gguf.h"
#include "runtime/text/token_id.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text {

// tokenizer.ggml.model.
enum class TokenizerModel {
    byte_level_bpe,  // "gpt2": merges with ranks, behind a pre-tokenizer
    sentencepiece,   // "llama": scores, over the whole text
};

// tokenizer.ggml.token_type. The numbers are written in files: don't renumber.
enum class TokenType : std::uint8_t {
    undefined = 0,     // read as normal
    normal = 1,        // text
    unknown = 2,       // <unk>
    control = 3,       // marks that stand for no text: <s>, <|im_end|>
    user_defined = 4,  // text that is never cut or merged: <think>
    unused = 5,        // pads the vocabulary
    byte = 6,          // <0x0A>: one byte
};

struct Merge {
    std::string_view left;
    std::string_view right;
};

// The strings are views into the Gguf, which must outlive it.
struct Vocabulary {
    std::string file;  // for messages
    TokenizerModel model = TokenizerModel::byte_level_bpe;
    std::string_view pre;                  // tokenizer.ggml.pre; byte-level BPE only
    std::vector<std::string_view> tokens;  // by id, as the file spells them: "Ġthe", "▁the", "<0x0A>"
    std::vector<TokenType> types;          // by id
    std::vector<float> scores;             // by id, finite; SentencePiece only
    std::vector<Merge> merges;             // by rank, no part empty; byte-level BPE only

    std::optional<TokenId> bos, eos, eot, eom;  // in range
    bool adds_bos = false;                      // tokenizer.ggml.add_bos_token; bos is there
    bool adds_eos = false;                      // tokenizer.ggml.add_eos_token; eos is there
    bool adds_space_prefix = false;             // SentencePiece's dummy prefix space

    std::int32_t size() const noexcept { return static_cast<std::int32_t>(tokens.size()); }
};

// Error{bad_input} when a key is missing, has the wrong type or length, or contradicts another; {unsupported}
// for an unknown tokenizer.ggml.model. Tokens may be empty or occur twice.
Vocabulary read_vocabulary(const quant::Gguf& gguf);

}  // namespace greenroom::text
