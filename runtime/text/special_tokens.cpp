#include "runtime/text/special_tokens.h"

#include <algorithm>
#include <utility>

namespace greenroom::text {

SpecialTokenSplitter::SpecialTokenSplitter(const Vocabulary& vocabulary, const PieceTable& pieces)
    : pieces_(pieces) {
    std::vector<TokenId> all;
    std::vector<TokenId> user_defined;
    for (TokenId id = 0; id < pieces.size(); ++id) {
        if (pieces[id].empty()) continue;
        const TokenType type = vocabulary.types[static_cast<std::size_t>(id)];
        if (type == TokenType::user_defined) user_defined.push_back(id);
        if (type == TokenType::user_defined || type == TokenType::control || type == TokenType::unknown)
            all.push_back(id);
    }
    all_ = make_dictionary(std::move(all));
    user_defined_ = make_dictionary(std::move(user_defined));
}

SpecialTokenSplitter::Dictionary SpecialTokenSplitter::make_dictionary(std::vector<TokenId> ids) const {
    // Of several tokens with the same text the last one counts, as everywhere.
    std::sort(ids.begin(), ids.end(), [&](TokenId a, TokenId b) {
        const int order = pieces_[a].compare(pieces_[b]);
        return order != 0 ? order < 0 : a > b;
    });
    const auto same_text = [&](TokenId a, TokenId b) { return pieces_[a] == pieces_[b]; };
    ids.erase(std::unique(ids.begin(), ids.end(), same_text), ids.end());

    Dictionary dictionary;
    for (const TokenId id : ids) {
        const auto first = static_cast<std::uint8_t>(pieces_[id].front());
        ++dictionary.first_byte_begins[first + 1u];
    }
    for (std::size_t b = 1; b < dictionary.first_byte_begins.size(); ++b)
        dictionary.first_byte_begins[b] += dictionary.first_byte_begins[b - 1];
    dictionary.sorted = std::move(ids);
    return dictionary;
}

std::vector<Run> SpecialTokenSplitter::split(std::string_view text, SpecialTokens special) const {
    const Dictionary& dictionary = special == SpecialTokens::parse ? all_ : user_defined_;
    std::vector<Run> runs;
    std::size_t begin = 0;  // of the text that is in no run yet
    for (std::size_t at = 0; at < text.size();) {
        const TokenId id = longest_match(dictionary, text.substr(at));
        if (id == kNoToken) {
            ++at;
            continue;
        }
        if (at > begin) runs.push_back({text.substr(begin, at - begin)});
        runs.push_back({text.substr(at, pieces_[id].size()), id});
        at += pieces_[id].size();
        begin = at;
    }
    if (begin < text.size()) runs.push_back({text.substr(begin)});
    return runs;
}

TokenId SpecialTokenSplitter::longest_match(const Dictionary& dictionary,
                                            std::string_view text) const noexcept {
    const auto byte_at = [](std::string_view s, std::size_t i) { return static_cast<std::uint8_t>(s[i]); };
    const std::uint8_t first_byte = byte_at(text, 0);
    auto first = dictionary.sorted.begin() + dictionary.first_byte_begins[first_byte];
    auto last = dictionary.sorted.begin() + dictionary.first_byte_begins[first_byte + 1u];

    // Narrows the tokens to those that begin with ever more of the text. The shortest stands first among
    // them.
    TokenId longest = kNoToken;
    for (std::size_t depth = 1; first != last; ++depth) {
        if (pieces_[*first].size() == depth) longest = *first++;
        if (depth == text.size()) break;
        const std::uint8_t byte = byte_at(text, depth);
        first =
            std::partition_point(first, last, [&](TokenId id) { return byte_at(pieces_[id], depth) < byte; });
        last = std::partition_point(first, last,
                                    [&](TokenId id) { return byte_at(pieces_[id], depth) == byte; });
    }
    return longest;
}

}  // namespace greenroom::text
