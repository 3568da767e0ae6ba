#pragma once

// ReadEngine: the part of a reader that calls the system. Takes pieces from a ReadQueue, reads them as
// ReadFiles says, hands back the results. Two ways: UringEngine and PreadEngine.
//
// Works from construction to destruction, on threads of its own with all signals blocked. The destructor
// comes after ReadQueue::stop() and returns when all reads have ended and nothing writes to memory any more.

#include "cache/read_files.h"
#include "cache/read_queue.h"

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace greenroom::cache {

class ReadEngine {
  public:
    ReadEngine() = default;
    virtual ~ReadEngine() = default;
    ReadEngine(const ReadEngine&) = delete;
    ReadEngine& operator=(const ReadEngine&) = delete;

    virtual void wake() noexcept = 0;  // there may be something to take; any thread
    virtual std::string describe() const = 0;
};

// io_uring through liburing: one thread, up to `depth` reads in flight. fixed_memory: regions that all reads
// are likely to go to; they are pinned and registered, if the system allows, and must outlive the engine.
// Error{unsupported} when the system has or allows no io_uring.
std::unique_ptr<ReadEngine> make_uring_engine(ReadQueue& queue, ReadFiles& files, int depth,
                                              std::span<const std::span<std::byte>> fixed_memory);

// `depth` threads that call pread().
std::unique_ptr<ReadEngine> make_pread_engine(ReadQueue& queue, ReadFiles& files, int depth);

}  // namespace greenroom::cache
