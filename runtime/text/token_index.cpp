#include "runtime/text/token_index.h"

#include <algorithm>
#include <bit>
#include <functional>

namespace greenroom::text {
namespace {

std::uint64_t hash_of(std::string_view bytes) noexcept { return std::hash<std::string_view>{}(bytes); }

}  // namespace

TokenIndex::TokenIndex(const PieceTable& pieces, std::span<const TokenType> types)
    : pieces_(&pieces), slots_(std::bit_ceil(2 * types.size() + 2)) {
    for (TokenId id = 0; id < pieces.size(); ++id) {
        const TokenType type = types[static_cast<std::size_t>(id)];
        const std::string_view piece = pieces[id];
        if (piece.empty() || (type != TokenType::normal && type != TokenType::undefined)) continue;
        const std::uint64_t hash = hash_of(piece);
        slots_[locate(piece, hash)] = {static_cast<std::uint32_t>(hash), id};
        longest_ = std::max(longest_, piece.size());
    }
}

TokenId TokenIndex::find(std::string_view bytes) const noexcept {
    return bytes.size() > longest_ ? kNoToken : slots_[locate(bytes, hash_of(bytes))].id;
}

std::size_t TokenIndex::locate(std::string_view bytes, std::uint64_t hash) const noexcept {
    const std::size_t mask = slots_.size() - 1;
    std::size_t at = (hash >> 32) & mask;
    while (slots_[at].id != kNoToken &&
           (slots_[at].hash != static_cast<std::uint32_t>(hash) || (*pieces_)[slots_[at].id] != bytes)) {
        at = (at + 1) & mask;
    }
    return at;
}

}  // namespace greenroom::text
