#pragma once

// Mover: the seam through which cache/ has bytes moved in the background. SsdReader fills RAM slots from
// files; runtime/ implements it with CUDA streams, tests with delays and failures.
//
// A request copies up to kMaxCopies byte ranges, usually the matrices of one expert, and ends in exactly one
// Completion. Until that completion has been handed out, the destination belongs to the mover, which may
// write to it at any time; afterwards it never touches it again, whatever the outcome. That holds for
// cancelled requests too: a cancelled one is complete when nothing can arrive any more, not when cancel()
// returns.
//
// Demanded requests go before prefetches: while one waits, no prefetch is begun, and of the requests already
// with the device only a small share may be prefetches. Within a priority, first come, first served.
//
// All methods may be called by any thread. A completion goes to one of the threads that ask, so users that
// must not see each other's completions need movers of their own. Nothing is allocated per request, except
// for the message of a failed one. The destructor drops what has not begun and returns when nothing writes to
// memory any more.

#include "cache/byte_range.h"
#include "quant/base/error.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace greenroom::cache {

inline constexpr int kMaxCopies =
    4;  // gate, up, down; or gate_up and down; a fourth for what a format may add

// One range and where its first byte goes. The file index and the address mean what the implementation says:
// for SsdReader a file and RAM, for a device mover a region of RAM and device memory.
struct Copy {
    ByteRange from;
    std::byte* to = nullptr;
};

enum class Priority {
    demanded,  // somebody waits for it
    prefetch,  // it may be wanted later
};

struct CopyRequest {
    std::span<const Copy> copies;  // 1 to kMaxCopies; looked at during start() only
    Priority priority = Priority::demanded;
    std::uint64_t tag = 0;  // the caller's name for it, handed back with the completion
};

enum class Ticket : std::uint64_t {
};  // names a request from start() to its completion, and no other ever after

enum class Outcome {
    done,       // all bytes are there
    cancelled,  // cancel() came in time; the destination holds anything
    failed,     // the destination holds anything; `error` says why. Other requests go on
};

struct Completion {
    std::uint64_t tag = 0;
    Ticket ticket{};
    Outcome outcome = Outcome::done;
    std::int64_t elapsed_us = 0;  // from start() to the last byte
    std::optional<Error> error;   // set if failed
};

class Mover {
  public:
    Mover() = default;
    virtual ~Mover() = default;
    Mover(const Mover&) = delete;
    Mover& operator=(const Mover&) = delete;

    // Takes the request and returns at once. Empty when as many requests are under way, or complete and not
    // yet fetched, as there is room for: fetch completions first. Error{bad_input} for a range that does not
    // exist.
    virtual std::optional<Ticket> start(const CopyRequest& request) = 0;

    // A prefetch that is wanted after all: what has not begun of it queues behind the demanded requests
    // before it. No effect on others, and on tickets whose completion has been fetched.
    virtual void promote(Ticket ticket) noexcept = 0;

    // Asks for an end: what has not begun is dropped, what has begun is let run. The completion comes as
    // always; it says `done` (or `failed`) if nothing was left to drop. No effect on tickets that are
    // complete.
    virtual void cancel(Ticket ticket) noexcept = 0;

    // Fetches completions, as many as there are and fit; returns their number.
    virtual std::size_t poll(std::span<Completion> completions) = 0;

    // The same, but waits until there is at least one. Returns 0 when the time is over, and at once when
    // nothing is under way.
    virtual std::size_t wait(std::span<Completion> completions, std::chrono::microseconds timeout) = 0;
};

}  // namespace greenroom::cache
