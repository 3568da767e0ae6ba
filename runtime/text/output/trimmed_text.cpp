#include "runtime/text/output/trimmed_text.h"

#include "runtime/text/output/json_text.h"

namespace greenroom::text {

void TrimmedText::push(std::string_view text, std::string& out) {
    const std::string_view inner = trimmed(text);
    if (inner.empty()) return push_blank(text, out);
    const std::size_t inner_at = static_cast<std::size_t>(inner.data() - text.data());
    push_blank(text.substr(0, inner_at), out);
    out += held_;
    out += inner;
    held_.clear();
    at_start_ = after_mark_ = false;
    push_blank(text.substr(inner_at + inner.size()), out);
}

void TrimmedText::push_blank(std::string_view blank, std::string& out) {
    if (at_start_ && after_mark_) return;
    held_ += blank;
    if (held_.size() <= kMostHeldBytes) return;
    const std::size_t n_surplus = held_.size() - kMostHeldBytes;
    out.append(held_, 0, n_surplus);
    held_.erase(0, n_surplus);
}

void TrimmedText::mark() noexcept {
    after_mark_ = true;
    if (at_start_) held_.clear();
}

void TrimmedText::finish(std::string& out) {
    if (!after_mark_) out += held_;
    held_.clear();
}

}  // namespace greenroom::text
