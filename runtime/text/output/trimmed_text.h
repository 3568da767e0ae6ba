#pragma once

// TrimmedText: a text between markers, on its way out without the whitespace beside them. Not thread-safe.
//
// Whitespace is held back, at most 64 bytes of it, until it is known what follows; of a longer run only the
// last 64 bytes can be left out.

#include <cstdint>
#include <string>
#include <string_view>

namespace greenroom::text {

class TrimmedText {
  public:
    static constexpr std::size_t kMostHeldBytes = 64;

    // Appends to `out` what is known to belong to the text.
    void push(std::string_view text, std::string& out);

    // A marker stands here: whitespace before it is left out if the text begins or ends here, and so is
    // whitespace behind it.
    void mark() noexcept;

    // The text is at its end.
    void finish(std::string& out);

  private:
    void push_blank(std::string_view blank, std::string& out);

    std::string held_;         // whitespace
    bool at_start_ = true;     // nothing but whitespace has come
    bool after_mark_ = false;  // and nothing but whitespace since
};

}  // namespace greenroom::text
