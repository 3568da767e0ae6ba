#pragma once

// SplitRegex: cuts text at the matches of a pattern. Immutable; any thread.

#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace greenroom::text {

class SplitRegex {
  public:
    // PCRE2 syntax over Unicode; \s and \S mean the White_Space property. Error{internal} for a malformed
    // pattern: patterns are ours.
    explicit SplitRegex(std::string_view pattern);

    SplitRegex(SplitRegex&&) noexcept;
    SplitRegex& operator=(SplitRegex&&) noexcept;
    ~SplitRegex();

    // Appends to `out`, for each of `texts` on its own, the matches and what lies between them, in order, so
    // that they add up to the text. Nothing outside of a text is seen by the pattern. Precondition: valid
    // UTF-8.
    void split(std::span<const std::string_view> texts, std::vector<std::string_view>& out) const;

  private:
    struct Compiled;
    std::unique_ptr<Compiled> compiled_;
};

}  // namespace greenroom::text
