#pragma once

// The pre-tokenizers that tokenizer.ggml.pre may name: how byte-level BPE cuts text before it merges.
//
// The patterns are those of the models' own tokenizers (tokenizer.json, tiktoken), not llama.cpp's
// approximations of them, so that any text gets the ids that the model was trained on.

#include <span>
#include <string_view>

namespace greenroom::text {

struct PreTokenizerRule {
    std::string_view name;
    // Each cuts the pieces that the one before has left. What a pattern does not match is a piece too.
    std::span<const std::string_view> patterns;
    bool to_nfc = false;             // the original normalizes text to NFC first; GGUF does not say so
    bool whole_piece_first = false;  // a piece that is a token is not merged (tiktoken, ignore_merges)
    bool adds_bos = false;           // where tokenizer.ggml.add_bos_token is missing
};

// All of them.
std::span<const PreTokenizerRule> pre_tokenizer_rules() noexcept;

// Error{unsupported} that lists the known names. `file` stands in the message.
const PreTokenizerRule& find_pre_tokenizer(std::string_view name, std::string_view file);

}  // namespace greenroom::text
