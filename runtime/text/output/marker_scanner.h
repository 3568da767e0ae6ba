#pragma once

// MarkerScanner: text that comes in pieces of any size, read as stretches of text and markers (`<think>`,
// `<|tool_call_begin|>`). What may become a marker is held back until that is known: at most the longest
// marker. What it returns depends on all of the text only, not on how it was cut. Not thread-safe.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace greenroom::text {

class MarkerScanner {
  public:
    // No call of a function is longer than this, and no more is kept; see hold().
    static constexpr std::size_t kMostHeldBytes = std::size_t{4} << 20;

    static constexpr std::size_t kNone = std::string_view::npos;

    struct Piece {
        std::string_view text;       // valid until the next push()
        std::size_t marker = kNone;  // which of the markers this is

        bool is_marker() const noexcept { return marker != kNone; }
        bool empty() const noexcept { return text.empty(); }
    };

    // Appends. Invalidates the pieces and held().
    void push(std::string_view text);

    // No more text comes: nothing is held back any longer.
    void finish() noexcept { finished_ = true; }

    // Takes what comes next: text up to the first of these markers, or a marker that stands here. Empty when
    // more has to be pushed first. None of the markers is empty or begins with another.
    Piece next(std::span<const std::string_view> markers);

    // Gives the last n_bytes that were taken back.
    void put_back(std::size_t n_bytes) noexcept { at_ -= n_bytes; }

    // From here on, or from the last n_bytes on, what is taken is also kept, for held(), until release().
    // While full(), next() returns nothing.
    void hold(std::size_t n_bytes = 0) noexcept;
    std::string_view held() const noexcept;
    bool full() const noexcept { return room() == 0; }
    void release() noexcept { holds_ = false; }

  private:
    std::size_t room() const noexcept;  // bytes that may still be taken

    std::string buffer_;
    std::size_t at_ = 0;    // what comes next
    std::size_t hold_ = 0;  // where held() begins
    bool holds_ = false;
    bool finished_ = false;
};

}  // namespace greenroom::text
