#include "tests/runtime/text/small_vocabulary.h"

#include "quant/gguf.h"
#include "quant/gguf_writer.h"
#include "runtime/text/byte_alphabet.h"
#include "runtime/text/utf8.h"

#include <fmt/format.h>

namespace greenroom::test {
namespace {

const std::string kPrefix = "tokenizer.ggml.";

}  // namespace

SmallVocabulary SmallVocabulary::byte_level(const std::string& pre) {
    SmallVocabulary v;
    v.model = "gpt2";
    v.pre = pre;
    v.tokens.emplace(256);
    v.types.emplace(256, 1);
    v.merges.emplace();
    for (char32_t c = 0; c < 0x200; ++c) {
        if (const auto byte = text::alphabet_byte(c)) text::append_utf8((*v.tokens)[*byte], c);
    }
    return v;
}

SmallVocabulary SmallVocabulary::sentencepiece() {
    SmallVocabulary v;
    v.model = "llama";
    v.tokens.emplace();
    v.types.emplace();
    v.scores.emplace();
    v.add("<unk>", 2);
    v.add("<s>", 3);
    v.add("</s>", 3);
    for (int b = 0; b < 256; ++b) v.add(fmt::format("<0x{:02X}>", b), 6);
    return v;
}

text::TokenId SmallVocabulary::add(const std::string& token, std::int32_t type, float score) {
    tokens->push_back(token);
    types->push_back(type);
    if (scores) scores->push_back(score);
    return static_cast<text::TokenId>(tokens->size() - 1);
}

text::TokenId SmallVocabulary::add_merge(const std::string& left, const std::string& right) {
    merges->push_back(left + " " + right);
    return add(left + right);
}

void SmallVocabulary::write(quant::GgufWriter& writer) const {
    if (model) writer.add_string(kPrefix + "model", *model);
    if (pre) writer.add_string(kPrefix + "pre", *pre);
    if (tokens) writer.add_strings(kPrefix + "tokens", *tokens);
    if (types) writer.add_i32s(kPrefix + "token_type", *types);
    if (scores) writer.add_f32s(kPrefix + "scores", *scores);
    if (merges) writer.add_strings(kPrefix + "merges", *merges);
    for (const auto& [key, id] : ids) writer.add_i32(kPrefix + key, id);
    for (const auto& [key, flag] : flags) writer.add_bool(kPrefix + key, flag);
}

text::Tokenizer SmallVocabulary::load() const {
    quant::GgufWriter writer;
    write(writer);
    const auto image = writer.serialize();
    return text::Tokenizer::load(quant::Gguf::parse(image.data(), image.size(), "small.gguf"));
}

}  // namespace greenroom::test
