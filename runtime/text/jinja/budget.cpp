#include "runtime/text/jinja/budget.h"

#include "quant/base/error.h"

namespace greenroom::text::jinja {

void Budget::check_text_size(std::int64_t n, std::size_t n_bytes) const {
    const auto size = static_cast<std::int64_t>(n_bytes);
    if (n <= 0 || size <= limits_.text_bytes / n) return;
    fail(ErrorKind::bad_input,
         "the text grows beyond {} bytes, the most that a chat template may make. Is the template broken?",
         limits_.text_bytes);
}

void Budget::fail_steps() const {
    fail(ErrorKind::bad_input,
         "not done after {} steps, the most that a rendering may take. Does the template run in circles?",
         limits_.steps);
}

void Budget::fail_bytes(std::int64_t n_bytes) {
    live_bytes_ -= n_bytes;
    fail(ErrorKind::bad_input,
         "the values take more than {} bytes, the most that a rendering may hold. Is the template broken?",
         limits_.live_bytes);
}

void TextBuilder::append(std::int64_t n, std::string_view text) {
    if (n <= 0 || text.empty()) return;
    budget_.check_text_size(n, text_.size() + text.size());
    const std::size_t n_bytes = static_cast<std::size_t>(n) * text.size();
    budget_.step();
    budget_.work(n_bytes);
    share_.grow(n_bytes);
    text_.reserve(text_.size() + n_bytes);
    for (; n > 0; --n) text_ += text;
}

}  // namespace greenroom::text::jinja
