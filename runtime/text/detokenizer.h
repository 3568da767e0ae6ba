#pragma once

// Detokenizer: token ids to text as they are generated. Holds bytes back until they form whole UTF-8
// characters. One per answer; not thread-safe. Keeps a reference to the tokenizer, which must outlive it.

#include "runtime/text/tokenizer.h"

#include <string>

namespace greenroom::text {

class Detokenizer {
  public:
    explicit Detokenizer(const Tokenizer& tokenizer,
                         Tokenizer::ControlTokens control = Tokenizer::ControlTokens::skip,
                         TextPosition position = TextPosition::beginning);

    // Takes one id and returns the text that has become complete: never half a character, possibly nothing.
    // A byte sequence that can no longer become UTF-8 comes out as U+FFFD.
    std::string push(TokenId id);

    // What is still held back at the end, as U+FFFD. Leaves the detokenizer as new.
    std::string finish();

  private:
    const Tokenizer& tokenizer_;
    Tokenizer::ControlTokens control_;
    bool drops_first_space_;  // the dummy prefix, where the text begins here
    bool at_start_ = true;
    std::string held_;  // bytes of a character that is not complete
};

}  // namespace greenroom::text
