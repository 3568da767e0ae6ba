#pragma once

// ReadFaults: makes reads fail on purpose, below everything that has to cope with it. For tests, through
// ReaderOptions::faults or, for whole programs, the environment variable GREENROOM_READ_FAULTS, which holds
// rules:
//
//     eio@3            the third read fails with EIO                   (reads are counted from 1, per reader)
//     short@5          the fifth brings half of what it was asked for; the reader asks again for the rest
//     eof@5            the fifth brings nothing, as after the end of a file
//     delay_ms=20@1+   every read from the first on takes 20 ms longer
//     eio@*100         every hundredth
//
// separated by commas. A read is one call of the system, not a request. The io_uring engine has one thread,
// so that there a delay holds up what comes after it as well. Without faults a reader asks for them once,
// when it is made.

#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

namespace greenroom::cache {

class ReadFaults {
  public:
    // Error{bad_input} for a rule that is none of these.
    explicit ReadFaults(std::string_view rules);

    // To be called before each read; sleeps if a rule says so. Any thread.
    void before_read() noexcept;

    // What the read is to be taken to have returned (bytes or -errno), given what it did return. `alignment`:
    // what is left of a short read is a multiple of it.
    std::int64_t after_read(std::int64_t result, std::int64_t alignment) noexcept;

  private:
    enum class Kind { eio, cut_short, eof, delay };
    struct Rule {
        Kind kind{};
        std::int64_t first = 1;  // number of the read
        std::int64_t every = 0;  // 0: only the first; n: each n-th from there on
        std::int64_t delay_ms = 0;

        bool applies_to(std::int64_t read) const noexcept {
            return every == 0 ? read == first : read >= first && (read - first) % every == 0;
        }
    };

    static Rule parse_rule(std::string_view text);

    std::vector<Rule> rules_;  // not changed after construction
    std::atomic<std::int64_t> n_begun_{0};
    std::atomic<std::int64_t> n_ended_{0};
};

}  // namespace greenroom::cache
