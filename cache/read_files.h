#pragma once

// ReadFiles: the files of a model, opened for reading past the page cache where the file system allows it,
// and the rules for what a read of them returned: go on, done, or an Error that says what happened to the
// file.
//
// Each file is opened twice, with O_DIRECT and without. A piece is read directly if its destination lies in
// its block as its range does in the file's (SlotLayout sees to that); the read then covers whole blocks, so
// up to a block less one byte is written before and after the destination. Other pieces are read through the
// page cache, exactly, and the pages dropped again: correct, slower.
//
// A file that is replaced, as downloads are, does not concern who has the old one open. One that is written
// to or truncated does: every read looks at size and time of modification, and fails when they are not those
// of the beginning. Any thread may call anything at any time.

#include "cache/read_faults.h"
#include "cache/read_queue.h"
#include "quant/base/error.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace greenroom::cache {

enum class ReadAccess {
    automatic,  // direct where the file system allows it
    direct,     // Error{unsupported} where it does not
    buffered,   // through the page cache
};

// A piece as the system is asked for it; where it stands after a part has come.
struct ReadOp {
    Piece piece;
    int fd = -1;
    int fd_index = 0;  // of fd in ReadFiles::descriptors()
    bool direct = false;
    std::int64_t offset = 0;  // of the next read,
    std::int64_t bytes = 0;   // how much to ask for
    std::byte* to = nullptr;
    // How much must come at least; the rest is alignment and may lie past the end.
    std::int64_t needed_bytes = 0;
    int n_retries = 0;
    std::optional<Error> error;
};

class ReadFiles {
  public:
    // faults may be null. Error{io} when a file cannot be opened, {bad_input} when it is not a regular file.
    ReadFiles(std::span<const std::string> paths, ReadAccess access, ReadFaults* faults);

    int size() const noexcept { return static_cast<int>(files_.size()); }
    std::int64_t file_bytes(int file) const noexcept { return files_[static_cast<std::size_t>(file)].bytes; }
    // What direct reads of all the files must be aligned to: a power of two, at least 4096.
    std::int64_t alignment() const noexcept { return alignment_; }
    // "O_DIRECT in blocks of 4096 bytes" or how many of the files go through the page cache and why.
    std::string describe() const;
    // All that ReadOp::fd can be; -1 where there is none.
    std::span<const int> descriptors() const noexcept { return descriptors_; }

    // Error{bad_input} unless the range lies in a file.
    void check(const ByteRange& range) const;

    // Before the first read of a piece.
    ReadOp begin(const Piece& piece) const noexcept;
    // Right before each read.
    void before_read() const noexcept {
        if (faults_ != nullptr) faults_->before_read();
    }
    // After each, with what it returned: bytes, or -errno. True: read again, as op now says. False: the piece
    // is in, or op.error is set.
    bool advance(ReadOp& op, std::int64_t result);
    // Instead of it, when the system would not take the read: sets op.error.
    void give_up(ReadOp& op, int error_number) const;

  private:
    class Descriptor {
      public:
        Descriptor() = default;
        explicit Descriptor(int fd) : fd_(fd) {}
        ~Descriptor();
        Descriptor(Descriptor&& other) noexcept;
        Descriptor& operator=(Descriptor&& other) noexcept;
        int get() const noexcept { return fd_; }

      private:
        int fd_ = -1;
    };

    struct File {
        std::string path;
        Descriptor buffered_fd;
        Descriptor direct_fd;
        // No longer once the file system has refused such a read. Only a hint where to read from, so relaxed.
        std::atomic<bool> direct{false};
        std::string not_direct_because;  // set while opening
        std::int64_t bytes = 0;
        std::int64_t modified_ns = 0;
    };

    void open(File& file, ReadAccess access);
    void open_direct(File& file, ReadAccess access);
    std::optional<Error> changed(const File& file) const;
    Error cut_short(const File& file, const ReadOp& op) const;

    std::deque<File> files_;  // does not move its elements, which cannot be moved
    std::vector<int> descriptors_;
    std::int64_t alignment_ = 4096;
    ReadFaults* faults_;
};

}  // namespace greenroom::cache
