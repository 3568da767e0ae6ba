#pragma once

// Budget: how much one rendering may compute and hold.
//
// A template comes with a model file that anybody may have written, and what it renders from anybody who can
// send a request. So all that takes time is counted in steps and all that takes memory in bytes, and a
// rendering that needs too much ends with Error{bad_input}. One thread only.

#include <cstdint>
#include <string>
#include <string_view>

namespace greenroom::text::jinja {

// The defaults are what templates need that look through all messages for each of thousands, and end a
// hostile one within some ten seconds.
struct Limits {
    std::int64_t steps = 100'000'000;                   // see Budget::step() and work()
    std::int64_t live_bytes = std::int64_t{256} << 20;  // of all values that exist at one time, about
    std::int64_t text_bytes = std::int64_t{64} << 20;   // of the output, and of any one string on the way
    int depth = 600;  // nodes of the template within nodes, through macros too
};

class Budget {
  public:
    explicit Budget(const Limits& limits) : limits_(limits), steps_left_(limits.steps) {}
    Budget(const Budget&) = delete;
    Budget& operator=(const Budget&) = delete;

    const Limits& limits() const noexcept { return limits_; }

    // A node that is evaluated, an element that is looked at.
    void step(std::int64_t n = 1) {
        steps_left_ -= n;
        if (steps_left_ < 0) [[unlikely]]
            fail_steps();
    }

    // Bytes that are read or copied in one go: 64 of them take about as long as a step.
    void work(std::size_t n_bytes) { step(static_cast<std::int64_t>(n_bytes / 64)); }

    void take(std::int64_t n_bytes) {
        live_bytes_ += n_bytes;
        if (live_bytes_ > limits_.live_bytes) [[unlikely]]
            fail_bytes(n_bytes);
    }
    void give_back(std::int64_t n_bytes) noexcept { live_bytes_ -= n_bytes; }

    // Refuses n texts of n_bytes each if they are longer than one string may be; before anything is made of
    // them.
    void check_text_size(std::int64_t n, std::size_t n_bytes) const;

  private:
    [[noreturn]] void fail_steps() const;
    [[noreturn]] void fail_bytes(std::int64_t n_bytes);

    Limits limits_;
    std::int64_t steps_left_;
    std::int64_t live_bytes_ = 0;
};

// The bytes of a budget that one object holds while it lives. The budget must outlive it; without one
// (nullptr) nothing is counted: the template's constants and the caller's variables, whose size their author
// paid for.
class Share {
  public:
    Share(Budget* budget, std::size_t n_bytes) : budget_(budget) { grow(n_bytes); }
    Share(Share&& other) noexcept : budget_(other.budget_), n_bytes_(other.n_bytes_) { other.n_bytes_ = 0; }
    Share& operator=(Share&&) = delete;
    ~Share() { release(); }

    void grow(std::size_t n_bytes) {
        if (budget_ == nullptr) return;
        budget_->take(static_cast<std::int64_t>(n_bytes));
        n_bytes_ += static_cast<std::int64_t>(n_bytes);
    }

    void release() noexcept {
        if (budget_ != nullptr) budget_->give_back(n_bytes_);
        n_bytes_ = 0;
    }

    Budget* budget() const noexcept { return budget_; }

  private:
    Budget* budget_;
    std::int64_t n_bytes_ = 0;
};

// A text that grows within the limits of a budget.
class TextBuilder {
  public:
    explicit TextBuilder(Budget& budget) : budget_(budget), share_(&budget, 0) {}

    void append(std::string_view text) {
        budget_.check_text_size(1, text_.size() + text.size());
        budget_.step();
        budget_.work(text.size());
        share_.grow(text.size());
        text_ += text;
    }
    // n times; none if n is negative.
    void append(std::int64_t n, std::string_view text);

    const std::string& text() const noexcept { return text_; }

    // The text; from here on nobody counts it.
    std::string take() && noexcept {
        share_.release();
        return std::move(text_);
    }

  private:
    Budget& budget_;
    Share share_;
    std::string text_;
};

}  // namespace greenroom::text::jinja
