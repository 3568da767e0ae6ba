#pragma once

// Small vocabularies made in memory, so that a test can say what is in them and break what it likes.

#include "quant/gguf_writer.h"
#include "runtime/text/tokenizer.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::test {

// The tokenizer.ggml.* keys of a file. An empty optional or map entry leaves the key out.
struct SmallVocabulary {
    std::optional<std::string> model;
    std::optional<std::string> pre;
    std::optional<std::vector<std::string>> tokens;
    std::optional<std::vector<std::int32_t>> types;
    std::optional<std::vector<float>> scores;
    std::optional<std::vector<std::string>> merges;
    std::map<std::string, std::int32_t> ids;  // "bos_token_id" → 3
    std::map<std::string, bool> flags;        // "add_bos_token" → true

    // gpt2 with the 256 bytes as the first tokens, in the order of the bytes. No merges.
    static SmallVocabulary byte_level(const std::string& pre);

    // llama: <unk>, <s>, </s>, 256 byte tokens.
    static SmallVocabulary sentencepiece();

    // Appends a token and returns its id.
    text::TokenId add(const std::string& token, std::int32_t type = 1, float score = 0);

    // Appends the token left + right and the merge that makes it.
    text::TokenId add_merge(const std::string& left, const std::string& right);

    // Puts the keys into a file.
    void write(quant::GgufWriter& writer) const;

    // Writes a GGUF in memory and loads it as "small.gguf".
    text::Tokenizer load() const;
};

}  // namespace greenroom::test
