#include "runtime/text/tokenizer.h"

#include "quant/base/error.h"
#include "runtime/text/bpe.h"
#include "runtime/text/detokenizer.h"
#include "runtime/text/end_of_generation.h"
#include "runtime/text/sentencepiece.h"
#include "runtime/text/special_tokens.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <utility>
#include <variant>

namespace greenroom::text {
namespace {

// Keeps every position below 2^31, also where NFC or U+FFFD makes three bytes of one.
constexpr std::size_t kMaxTextBytes = std::size_t{512} << 20;

using Model = std::variant<Bpe, SentencePiece>;

Model make_model(const Vocabulary& vocabulary, const PieceTable& pieces) {
    if (vocabulary.model == TokenizerModel::sentencepiece)
        return Model(std::in_place_type<SentencePiece>, vocabulary, pieces);
    return Model(std::in_place_type<Bpe>, vocabulary, pieces);
}

}  // namespace

// Stays where it was made: the parts below keep references to `pieces`.
struct Tokenizer::Impl {
    explicit Impl(const Vocabulary& vocabulary)
        : pieces(vocabulary),
          types(vocabulary.types),
          special(vocabulary, pieces),
          model(make_model(vocabulary, pieces)),
          ends(end_of_generation_tokens(vocabulary)),
          bos(vocabulary.bos),
          eos(vocabulary.eos),
          adds_bos(vocabulary.adds_bos),
          adds_eos(vocabulary.adds_eos),
          adds_space_prefix(vocabulary.adds_space_prefix) {}

    bool contains(TokenId id) const noexcept { return id >= 0 && id < pieces.size(); }
    void encode_text(std::string_view text, bool is_first, DummyPrefix prefix,
                     std::vector<TokenId>& ids) const;

    PieceTable pieces;
    std::vector<TokenType> types;
    SpecialTokenSplitter special;
    Model model;
    std::vector<TokenId> ends;
    std::optional<TokenId> bos, eos;
    bool adds_bos, adds_eos, adds_space_prefix;
};

Tokenizer Tokenizer::load(const quant::Gguf& gguf) {
    return Tokenizer(std::make_unique<Impl>(read_vocabulary(gguf)));
}

Tokenizer::Tokenizer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

std::vector<TokenId> Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
    if (text.size() > kMaxTextBytes) {
        fail(ErrorKind::bad_input, "the text has {} bytes; at most {} can be tokenized at once. Split it.",
             text.size(), kMaxTextBytes);
    }
    std::string cleaned;
    if (!is_utf8(text)) {
        cleaned = replace_invalid_utf8(text);
        text = cleaned;
    }

    std::vector<TokenId> ids;
    const bool as_metadata = options.add_bos_eos == AddBosEos::as_metadata;
    if (as_metadata && impl_->adds_bos) ids.push_back(*impl_->bos);
    for (const Run& run : impl_->special.split(text, options.special)) {
        if (run.special != kNoToken) {
            ids.push_back(run.special);
        } else {
            impl_->encode_text(run.text, run.text.data() == text.data(), options.dummy_prefix, ids);
        }
    }
    if (as_metadata && impl_->adds_eos) ids.push_back(*impl_->eos);
    return ids;
}

// One run between special tokens, which is the first of its text or not.
void Tokenizer::Impl::encode_text(std::string_view text, bool is_first, DummyPrefix prefix,
                                  std::vector<TokenId>& ids) const {
    if (const Bpe* bpe = std::get_if<Bpe>(&model)) {
        bpe->encode(text, ids);
        return;
    }
    std::string spaced = with_plain_spaces(text);
    const bool wants_prefix = prefix == DummyPrefix::every_run || (is_first && !spaced.starts_with(' '));
    if (adds_space_prefix && wants_prefix) spaced.insert(spaced.begin(), ' ');
    std::get<SentencePiece>(model).encode(spaced, ids);
}

std::string_view Tokenizer::piece(TokenId id) const {
    return impl_->contains(id) ? impl_->pieces[id] : std::string_view();
}

std::string Tokenizer::decode(std::span<const TokenId> ids, ControlTokens control,
                              TextPosition position) const {
    Detokenizer detokenizer(*this, control, position);
    std::string text;
    for (const TokenId id : ids) text += detokenizer.push(id);
    return text += detokenizer.finish();
}

std::int32_t Tokenizer::size() const noexcept { return impl_->pieces.size(); }

bool Tokenizer::is_control(TokenId id) const noexcept {
    if (!impl_->contains(id)) return false;
    const TokenType type = impl_->types[static_cast<std::size_t>(id)];
    return type == TokenType::control || type == TokenType::unknown || type == TokenType::unused;
}

bool Tokenizer::is_end_of_generation(TokenId id) const noexcept {
    return std::binary_search(impl_->ends.begin(), impl_->ends.end(), id);
}

std::optional<TokenId> Tokenizer::bos() const noexcept { return impl_->bos; }
std::optional<TokenId> Tokenizer::eos() const noexcept { return impl_->eos; }
bool Tokenizer::adds_bos() const noexcept { return impl_->adds_bos; }
bool Tokenizer::adds_eos() const noexcept { return impl_->adds_eos; }
bool Tokenizer::has_dummy_prefix() const noexcept { return impl_->adds_space_prefix; }

}  // namespace greenroom::text
