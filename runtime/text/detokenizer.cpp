#include "runtime/text/detokenizer.h"

#include "runtime/text/utf8.h"

namespace greenroom::text {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, Tokenizer::ControlTokens control, TextPosition position)
    : tokenizer_(tokenizer),
      control_(control),
      drops_first_space_(position == TextPosition::beginning && tokenizer.has_dummy_prefix()) {}

std::string Detokenizer::push(TokenId id) {
    if (control_ == Tokenizer::ControlTokens::skip && tokenizer_.is_control(id)) return {};
    std::string_view piece = tokenizer_.piece(id);
    if (piece.empty()) return {};
    if (at_start_ && drops_first_space_ && piece.front() == ' ') piece.remove_prefix(1);
    at_start_ = false;

    held_ += piece;
    std::string text;
    held_.erase(0, append_complete_utf8(text, held_));
    return text;
}

std::string Detokenizer::finish() {
    std::string text = replace_invalid_utf8(held_);
    held_.clear();
    at_start_ = true;
    return text;
}

}  // namespace greenroom::text
