#pragma once

// SsdReader: the Mover that fills RAM from the files of a model. Copy::from names a file and bytes of it,
// Copy::to is an address in RAM.
//
// Reads go past the page cache (O_DIRECT) through io_uring; where the system refuses io_uring, through a pool
// of threads with pread(), where the file system refuses direct reads, through the page cache. describe()
// says which it is. Large ranges are read in pieces, many of them in flight.
//
// For a direct read the destination must lie in its block as the range does in the file's: `to` and
// `from.offset` have the same remainder modulo alignment(). The blocks that the destination touches must then
// be writable and not in use otherwise, as SlotLayout arranges it: up to alignment() - 1 bytes before and
// after receive what the file holds there. A destination that lies otherwise is filled exactly and more
// slowly, through the page cache.
//
// A read fails, and with it its request, when the system says so, when the file ends before it should, and
// when the file has been written to since it was opened; the Error says which. Nothing is tried again, except
// where the system asks for that; nothing else stops. A file system that never answers (a lost network mount)
// cannot be given up on: its request stays under way, and so does the destructor.

#include "cache/mover.h"
#include "cache/read_engine.h"
#include "cache/read_faults.h"
#include "cache/read_files.h"
#include "cache/read_queue.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace greenroom::cache {

enum class ReadBackend {
    automatic,  // io_uring where the system allows it
    uring,      // Error{unsupported} where it does not
    pread,      // a pool of threads
};

struct ReaderOptions {
    ReadBackend backend = ReadBackend::automatic;
    ReadAccess access = ReadAccess::automatic;
    // docs/performance.md has how these three were chosen.
    int depth = 16;          // pieces in flight
    int prefetch_depth = 2;  // of these, for prefetches; less than depth, so that demanded ones find room
    std::int64_t piece_bytes = 2 << 20;  // larger ranges are cut
    int max_requests = 1024;             // under way, or complete and not fetched
    // Regions of RAM that most reads go to, to be pinned and registered with io_uring; they must outlive the
    // reader. Only what is committed anyway: pinning commits it. Refused (RLIMIT_MEMLOCK), reads work as well
    // without.
    std::span<const std::span<std::byte>> fixed_memory;
    // For tests; must outlive the reader. Null: what GREENROOM_READ_FAULTS says, normally nothing.
    ReadFaults* faults = nullptr;
};

class SsdReader final : public Mover {
  public:
    // Opens the files; a ByteRange names them by their position here. Error{io}, {bad_input}, {unsupported}:
    // see ReadFiles and ReadBackend.
    explicit SsdReader(std::span<const std::string> paths, const ReaderOptions& options = {});
    ~SsdReader() override;

    std::optional<Ticket> start(const CopyRequest& request) override;
    void promote(Ticket ticket) noexcept override;
    void cancel(Ticket ticket) noexcept override;
    std::size_t poll(std::span<Completion> completions) override;
    std::size_t wait(std::span<Completion> completions, std::chrono::microseconds timeout) override;

    // For SlotLayout: a power of two, at least 4096.
    std::int64_t alignment() const noexcept { return files_.alignment(); }
    std::int64_t file_bytes(int file) const noexcept { return files_.file_bytes(file); }
    ReaderStats stats() const { return queue_.stats(); }
    // One line for the log: which ways of reading are used, and why not the better ones.
    std::string describe() const;

  private:
    std::unique_ptr<ReadFaults> faults_from_environment_;
    ReadFiles files_;
    ReadQueue queue_;
    std::string no_uring_because_;
    std::unique_ptr<ReadEngine> engine_;  // uses the members above, so it goes first
};

}  // namespace greenroom::cache
