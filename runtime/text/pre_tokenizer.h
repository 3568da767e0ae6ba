#pragma once

// PreTokenizer: cuts text into the pieces that byte-level BPE merges within, by the rule of the model.
// Immutable; any thread.

#include "runtime/text/pre_tokenizer_table.h"
#include "runtime/text/split_regex.h"

#include <string_view>
#include <vector>

namespace greenroom::text {

class PreTokenizer {
  public:
    // `rule` must outlive it, as those of the table do.
    explicit PreTokenizer(const PreTokenizerRule& rule);

    // The pieces are views into `text` and add up to it. Precondition: valid UTF-8, normalized if the rule
    // asks for it.
    std::vector<std::string_view> split(std::string_view text) const;

    const PreTokenizerRule& rule() const noexcept { return rule_; }

  private:
    const PreTokenizerRule& rule_;
    std::vector<SplitRegex> steps_;
};

}  // namespace greenroom::text
