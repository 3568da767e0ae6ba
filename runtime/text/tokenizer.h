#pragma once

// Tokenizer: text to token ids and back, as the model's GGUF metadata describes it (tokenizer.ggml.*).
//
// Two kinds: `gpt2` (byte-level BPE behind a pre-tokenizer regex, named by tokenizer.ggml.pre) and `llama`
// (SentencePiece BPE with byte fallback). Loaded once per model; all members are const afterwards and may be
// called by any thread.

#include "quant/gguf.h"
#include "runtime/text/token_id.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::text {

// What to do with control tokens (<|im_start|>, [INST]) that stand in the text. User-defined tokens are
// always parsed.
enum class SpecialTokens { parse, literal };

// Whether to add BOS and EOS where the metadata asks for them. A rendered chat prompt carries its own.
enum class AddBosEos { as_metadata, never };

// Where SentencePiece puts its dummy prefix space: before every run of text between special tokens (legacy,
// what llama.cpp does), or only at the very start of the text and not if a space stands there (what chat
// prompts need). No effect on `gpt2` tokenizers.
enum class DummyPrefix { every_run, start_only };

struct EncodeOptions {
    SpecialTokens special = SpecialTokens::parse;
    AddBosEos add_bos_eos = AddBosEos::never;
    DummyPrefix dummy_prefix = DummyPrefix::every_run;
};

// Where ids to be decoded stand: at the beginning of a text, where the dummy prefix space was put and is left
// out again, or further on, where every space counts. No effect on `gpt2` tokenizers.
enum class TextPosition { beginning, continuation };

class Tokenizer {
  public:
    // Reads tokenizer.ggml.* of the file. Error{bad_input} when a key is missing or contradicts another,
    // {unsupported} for a tokenizer model or pre-tokenizer that is not known; the message lists the known
    // ones.
    static Tokenizer load(const quant::Gguf& gguf);

    Tokenizer(Tokenizer&&) noexcept;
    Tokenizer& operator=(Tokenizer&&) noexcept;
    ~Tokenizer();

    // Any bytes are taken; each maximal invalid UTF-8 subpart is read as U+FFFD.
    std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const;

    // The bytes of one token as it stands in text; control tokens give their literal text. Empty for an id
    // out of range.
    std::string_view piece(TokenId id) const;

    // The text of the ids. Control tokens are left out, or written literally. Bytes that are no UTF-8 become
    // U+FFFD.
    enum class ControlTokens { skip, show };
    std::string decode(std::span<const TokenId> ids, ControlTokens control = ControlTokens::skip,
                       TextPosition position = TextPosition::beginning) const;

    std::int32_t size() const noexcept;
    // Stands for no text: control tokens, <unk>, and the ids that only pad the vocabulary.
    bool is_control(TokenId id) const noexcept;
    // Ends an answer: EOS, EOT, EOM, and the end-of-turn tokens that are known by their text (<|im_end|>,
    // <|eot_id|> …).
    bool is_end_of_generation(TokenId id) const noexcept;

    std::optional<TokenId> bos() const noexcept;
    std::optional<TokenId> eos() const noexcept;
    bool adds_bos() const noexcept;  // tokenizer.ggml.add_bos_token, or the default of the tokenizer's kind
    bool adds_eos() const noexcept;
    bool has_dummy_prefix()
        const noexcept;  // a text begins with a space that the encoder adds (SentencePiece)

  private:
    struct Impl;
    explicit Tokenizer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace greenroom::text
