#include "runtime/text/pre_tokenizer.h"

#include <utility>

namespace greenroom::text {

PreTokenizer::PreTokenizer(const PreTokenizerRule& rule) : rule_(rule) {
    steps_.reserve(rule.patterns.size());
    for (const std::string_view pattern : rule.patterns) steps_.emplace_back(pattern);
}

std::vector<std::string_view> PreTokenizer::split(std::string_view text) const {
    std::vector<std::string_view> pieces;
    if (!text.empty()) pieces.push_back(text);
    for (const SplitRegex& step : steps_) {
        std::vector<std::string_view> finer;
        step.split(pieces, finer);
        pieces = std::move(finer);
    }
    return pieces;
}

}  // namespace greenroom::text
