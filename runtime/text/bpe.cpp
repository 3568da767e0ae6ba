#include "runtime/text/bpe.h"

#include "quant/base/error.h"
#include "runtime/text/byte_alphabet.h"
#include "runtime/text/nfc.h"
#include "runtime/text/pair_merger.h"

#include <bit>

namespace greenroom::text {
namespace {

// C0 and C1 would begin overlong forms, F5 and above code points beyond U+10FFFF.
constexpr bool occurs_in_utf8(unsigned byte) { return byte != 0xC0 && byte != 0xC1 && byte < 0xF5; }

}  // namespace

MergeTable::MergeTable(std::size_t n_merges) : slots_(std::bit_ceil(2 * n_merges + 2)) {}

void MergeTable::add(TokenId left, TokenId right, std::uint32_t rank, TokenId merged) {
    Slot& slot = slots_[locate(left, right)];
    if (slot.left == kNoToken) slot = {left, right, rank, merged};
}

std::optional<PairMerge> MergeTable::find(TokenId left, TokenId right) const noexcept {
    const Slot& slot = slots_[locate(left, right)];
    if (slot.left == kNoToken) return std::nullopt;
    return PairMerge{slot.rank, slot.merged};
}

std::size_t MergeTable::locate(TokenId left, TokenId right) const noexcept {
    // Fibonacci hashing: the high half of a product with 2^64 / golden ratio depends on all bits of both ids.
    const auto key = static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint32_t>(right);
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = ((key ^ (key >> 29)) * 0x9E3779B97F4A7C15u >> 32) & mask;
    while (slots_[at].left != kNoToken && (slots_[at].left != left || slots_[at].right != right))
        at = (at + 1) & mask;
    return at;
}

Bpe::Bpe(const Vocabulary& vocabulary, const PieceTable& pieces)
    : pre_tokenizer_(find_pre_tokenizer(vocabulary.pre, vocabulary.file)),
      index_(pieces, vocabulary.types),
      merges_(vocabulary.merges.size()) {
    for (unsigned b = 0; b < byte_tokens_.size(); ++b) {
        const char byte = static_cast<char>(b);
        byte_tokens_[b] = index_.find({&byte, 1});
        if (byte_tokens_[b] == kNoToken && occurs_in_utf8(b)) {
            fail(ErrorKind::bad_input,
                 "{}: tokenizer.ggml.tokens has no token for the byte 0x{:02X}; byte-level BPE builds every "
                 "text from single bytes. Convert the model again.",
                 vocabulary.file, b);
        }
    }
    add_merges(vocabulary);
}

void Bpe::add_merges(const Vocabulary& vocabulary) {
    std::string bytes;  // of left and right, side by side
    for (std::uint32_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
        const Merge& merge = vocabulary.merges[rank];
        bytes.clear();
        bool spelled_well = append_spelled_bytes(bytes, merge.left);
        const std::size_t left_bytes = bytes.size();
        spelled_well = append_spelled_bytes(bytes, merge.right) && spelled_well;

        const std::string_view both = bytes;
        const TokenId left = index_.find(both.substr(0, left_bytes));
        const TokenId right = index_.find(both.substr(left_bytes));
        const TokenId merged = index_.find(both);
        if (!spelled_well || left == kNoToken || right == kNoToken || merged == kNoToken) {
            fail(ErrorKind::bad_input,
                 "{}: tokenizer.ggml.merges[{}] is \"{} {}\"; both parts and their concatenation must be "
                 "normal tokens. Convert the model again.",
                 vocabulary.file, rank, merge.left, merge.right);
        }
        merges_.add(left, right, rank, merged);
    }
}

void Bpe::encode(std::string_view text, std::vector<TokenId>& ids) const {
    const PreTokenizerRule& rule = pre_tokenizer_.rule();
    std::string normalized;
    if (rule.to_nfc && may_need_nfc(text)) {
        normalized = to_nfc(text);
        text = normalized;
    }

    PairMerger merger;
    const auto find_merge = [&](const Symbol& left, const Symbol& right) {
        return merges_.find(left.id, right.id);
    };
    for (const std::string_view piece : pre_tokenizer_.split(text)) {
        if (rule.whole_piece_first) {
            if (const TokenId id = index_.find(piece); id != kNoToken) {
                ids.push_back(id);
                continue;
            }
        }
        merger.clear();
        for (const char byte : piece) merger.add(1, byte_tokens_[static_cast<std::uint8_t>(byte)]);
        merger.merge(find_merge);
        merger.for_each([&](const Symbol& symbol) { ids.push_back(symbol.id); });
    }
}

}  // namespace greenroom::text
