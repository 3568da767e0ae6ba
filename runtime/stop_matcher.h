#pragma once

// StopMatcher: finds stop texts in an answer while it is written. Lets through what can no longer be part of
// a stop text and holds back the rest. One per answer; not thread-safe.

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::runtime {

class StopMatcher {
  public:
    // Stop texts that can't occur (empty, or beginning within a UTF-8 character) are ignored.
    explicit StopMatcher(std::vector<std::string> stops);

    // Takes the next piece of the answer, whole UTF-8 characters, and returns the text that may be shown,
    // whole characters too. After a match: what stood before the earliest stop text; call no more.
    std::string push(std::string_view piece);

    bool matched() const noexcept { return matched_; }

    // What is still held back when the answer ends without a stop text.
    std::string finish();

  private:
    std::size_t first_possible_stop() const;  // where the end of held_ may become one; its size: nowhere

    std::vector<std::string> stops_;
    std::string held_;
    bool matched_ = false;
};

}  // namespace greenroom::runtime
