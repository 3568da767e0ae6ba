#pragma once

// ReadQueue: the book-keeping of a reader, without any I/O. Requests come in at one side; at the other,
// engines take them apart piece by piece in the order that Mover promises, read the pieces and report back;
// when the last piece of a request is in, its completion is laid ready.
//
// All memory is reserved by the constructor. All methods may be called by any thread (one mutex, held
// briefly).

#include "cache/byte_range.h"
#include "cache/mover.h"

#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

namespace greenroom::cache {

// Since the reader was made. Bytes are those asked for, without what alignment adds.
struct ReaderStats {
    std::int64_t n_done = 0;
    std::int64_t n_cancelled = 0;
    std::int64_t n_failed = 0;
    std::int64_t bytes_demanded = 0;  // of requests that are done
    std::int64_t bytes_prefetched = 0;
    std::int64_t latency_sum_us = 0;  // of requests that are done, from start() to the last byte
    std::int64_t latency_max_us = 0;
    std::int64_t n_under_way = 0;    // requests begun and not complete, now
    std::int64_t max_under_way = 0;  // the most at any time
    std::int64_t max_in_flight = 0;  // the most pieces with the system at any time
};

struct QueueLimits {
    int max_requests = 1024;  // under way, or complete and not fetched
    int prefetch_depth = 2;   // pieces of prefetches with the system at a time
    std::int64_t piece_bytes =
        1 << 20;                    // of the largest piece, which alignment may exceed by less than a block
    std::int64_t alignment = 4096;  // requests are cut at multiples of this file offset
};

// Some consecutive bytes of a request, read by one call of the system (or as many as it takes).
struct Piece {
    std::int32_t request = 0;
    Priority priority = Priority::demanded;  // as which it was taken
    ByteRange range;
    std::byte* to = nullptr;
};

class ReadQueue {
  public:
    explicit ReadQueue(const QueueLimits& limits);

    // For the user's side: as Mover has them. push() does not look at files and offsets.
    std::optional<Ticket> push(const CopyRequest& request);
    void promote(Ticket ticket) noexcept;
    void cancel(Ticket ticket) noexcept;
    std::size_t poll(std::span<Completion> completions);
    std::size_t wait(std::span<Completion> completions, std::chrono::microseconds timeout);
    ReaderStats stats() const;

    // For engines. The next piece that may be begun; empty when there is none just now.
    std::optional<Piece> take();
    // The same, but waits for one; empty only after stop().
    std::optional<Piece> take_or_wait();
    // The piece is in or, with an error, given up. Nothing may write to its destination afterwards.
    void finish(const Piece& piece, std::optional<Error> error);

    // Drops what has not been taken; no piece is handed out afterwards. Pieces that were taken may still be
    // finished.
    void stop() noexcept;

  private:
    using Clock = std::chrono::steady_clock;

    enum class Place {
        free,
        demanded,
        prefetch,
        in_flight,
        complete
    };  // which list it is in; in_flight: in none

    struct Request {
        Place place = Place::free;
        std::int32_t previous = -1;
        std::int32_t next = -1;
        std::uint32_t generation = 0;
        std::array<Copy, kMaxCopies> copies;
        int n_copies = 0;
        int copy = 0;                  // the copy to take the next piece from,
        std::int64_t taken_bytes = 0;  // and how much of it has been taken
        int n_in_flight = 0;           // pieces
        Priority priority = Priority::demanded;
        bool cancelled = false;  // in time to drop something
        std::uint64_t tag = 0;
        std::int64_t bytes = 0;
        Clock::time_point started;
        std::int64_t elapsed_us = 0;
        std::optional<Error> error;
    };

    struct List {
        std::int32_t first = -1;
        std::int32_t last = -1;
        bool empty() const noexcept { return first < 0; }
    };

    // All of these with mutex_ held.
    Request& at(std::int32_t index) noexcept { return requests_[static_cast<std::size_t>(index)]; }
    Request* find(Ticket ticket) noexcept;
    List* list_of(Place place) noexcept;
    void move_to(std::int32_t index, Place place) noexcept;
    bool can_take() const noexcept;
    std::optional<Piece> take_locked();
    void complete(std::int32_t index);
    std::size_t fetch_locked(std::span<Completion> completions);

    const QueueLimits limits_;
    mutable std::mutex mutex_;
    std::condition_variable work_;       // there may be a piece to take, or it is over
    std::condition_variable completed_;  // there may be a completion, or nothing under way
    // Guarded by mutex_:
    std::vector<Request> requests_;
    List free_;
    List demanded_;
    List prefetch_;
    List complete_;
    int n_prefetch_in_flight_ = 0;
    int n_in_flight_ = 0;
    bool stopping_ = false;
    ReaderStats stats_;
};

}  // namespace greenroom::cache
