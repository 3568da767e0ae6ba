#include "runtime/text/sentencepiece.h"

#include "quant/base/error.h"
#include "runtime/text/pair_merger.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <functional>
#include <optional>

namespace greenroom::text {
namespace {

std::vector<std::uint32_t> rank_scores(const std::vector<float>& scores) {
    std::vector<float> order = scores;
    std::sort(order.begin(), order.end(), std::greater<>());
    order.erase(std::unique(order.begin(), order.end()), order.end());
    std::vector<std::uint32_t> ranks;
    ranks.reserve(scores.size());
    for (const float score : scores) {
        const auto at = std::lower_bound(order.begin(), order.end(), score, std::greater<>());
        ranks.push_back(static_cast<std::uint32_t>(at - order.begin()));
    }
    return ranks;
}

}  // namespace

SentencePiece::SentencePiece(const Vocabulary& vocabulary, const PieceTable& pieces)
    : index_(pieces, vocabulary.types), ranks_(rank_scores(vocabulary.scores)) {
    byte_tokens_.fill(kNoToken);
    for (TokenId id = 0; id < pieces.size(); ++id) {
        if (vocabulary.types[static_cast<std::size_t>(id)] == TokenType::byte)
            byte_tokens_[static_cast<std::uint8_t>(pieces[id].front())] = id;
    }
    const auto missing = std::find(byte_tokens_.begin(), byte_tokens_.end(), kNoToken);
    if (missing != byte_tokens_.end()) {
        fail(ErrorKind::bad_input,
             "{}: tokenizer.ggml.tokens has no token <0x{:02X}> of type byte; characters outside of the "
             "vocabulary need all 256. Convert the model again.",
             vocabulary.file, missing - byte_tokens_.begin());
    }
}

void SentencePiece::encode(std::string_view text, std::vector<TokenId>& ids) const {
    PairMerger merger;
    for (std::size_t at = 0; at < text.size();) {
        const std::uint8_t size = read_utf8(text.substr(at)).size;
        merger.add(size, index_.find(text.substr(at, size)));
        at += size;
    }
    merger.merge([&](const Symbol& left, const Symbol& right) -> std::optional<PairMerge> {
        const TokenId id = index_.find(text.substr(left.begin, left.size + right.size));
        if (id == kNoToken) return std::nullopt;
        return PairMerge{ranks_[static_cast<std::size_t>(id)], id};
    });
    merger.for_each([&](const Symbol& symbol) {
        if (symbol.id != kNoToken) {
            ids.push_back(symbol.id);
            return;
        }
        for (const char byte : text.substr(symbol.begin, symbol.size))
            ids.push_back(byte_tokens_[static_cast<std::uint8_t>(byte)]);
    });
}

}  // namespace greenroom::text
