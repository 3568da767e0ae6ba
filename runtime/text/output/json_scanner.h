#pragma once

// JsonScanner: finds the end of a JSON value (RFC 8259) in text that comes in pieces, and whether it is
// well-formed so far. Looks at every byte once and keeps nothing but the open brackets; strings may hold any
// bytes from 0x20 on. Not thread-safe.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace greenroom::text {

class JsonScanner {
  public:
    static constexpr std::size_t kMostDepth = 256;  // deeper nesting counts as invalid

    // Takes text up to the end of the value, if it is in there, and returns how many bytes that were.
    // Whitespace before the value is taken, after it not. After complete() or invalid() nothing is taken.
    std::size_t push(std::string_view text);

    // No more text comes: a number at the end is complete.
    void finish() noexcept;

    bool complete() const noexcept { return state_ == State::complete; }
    bool invalid() const noexcept { return state_ == State::invalid; }
    bool in_string() const noexcept {
        return state_ == State::string || state_ == State::escape || state_ == State::hex_digits;
    }

  private:
    enum class State : std::uint8_t {
        value,
        first_item,  // a value, or the end of the array
        first_key,   // a key, or the end of the object
        key,
        colon,
        after_value,  // a comma, or the end of what is open
        string,
        escape,
        hex_digits,
        literal,
        minus,
        zero,
        integer,
        point,
        fraction,
        exponent,
        exponent_sign,
        exponent_digits,
        complete,
        invalid,
    };

    // Whether the byte was taken; a number ends before the byte that shows its end.
    bool take(char c);
    bool take_in_number(char c);
    void take_in_string(char c);
    void begin_value(char c);
    void open(char bracket, State next);
    void close(char bracket);
    void end_value() noexcept;
    bool number_may_end() const noexcept;

    State state_ = State::value;
    std::string open_;  // the brackets that are open
    bool string_is_key_ = false;
    int n_hex_digits_ = 0;      // of \uXXXX, still missing
    std::string_view literal_;  // what is still missing of true, false or null
};

}  // namespace greenroom::text
