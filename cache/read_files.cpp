#include "cache/read_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <system_error>
#include <utility>

namespace greenroom::cache {
namespace {

// How often a read that the system only puts off is tried again.
constexpr int kMaxRetries = 1000;

std::string system_message(int error_number) { return std::generic_category().message(error_number); }

std::int64_t modified_ns(const struct stat& info) {
    return std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
}

// What the file system says that direct reads must be aligned to: 0 if it does not say, -1 if it allows none.
std::int64_t direct_alignment(int fd) {
#ifdef STATX_DIOALIGN  // Linux 6.1
    struct statx info {};
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0 || (info.stx_mask & STATX_DIOALIGN) == 0)
        return 0;
    const auto alignment = std::int64_t{std::max(info.stx_dio_mem_align, info.stx_dio_offset_align)};
    return info.stx_dio_offset_align == 0 ? -1 : alignment;
#else
    static_cast<void>(fd);
    return 0;
#endif
}

}  // namespace

ReadFiles::Descriptor::~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
}

ReadFiles::Descriptor::Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

ReadFiles::Descriptor& ReadFiles::Descriptor::operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
}

ReadFiles::ReadFiles(std::span<const std::string> paths, ReadAccess access, ReadFaults* faults)
    : faults_(faults) {
    GR_CHECK(!paths.empty());
    for (const std::string& path : paths) {
        File& file = files_.emplace_back();
        file.path = path;
        open(file, access);
        descriptors_.push_back(file.buffered_fd.get());
        descriptors_.push_back(file.direct_fd.get());
    }
}

void ReadFiles::open(File& file, ReadAccess access) {
    // O_NONBLOCK: opening a FIFO must not hang before we can refuse it. Cleared below: io_uring takes it to
    // mean that a read that would have to wait for the disk is to fail.
    file.buffered_fd = Descriptor(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    const int fd = file.buffered_fd.get();
    if (fd < 0) {
        const int error = errno;
        fail(ErrorKind::io, "{}: cannot open: {}", file.path, system_message(error));
    }
    struct stat info {};
    if (::fstat(fd, &info) != 0) {
        const int error = errno;
        fail(ErrorKind::io, "{}: cannot stat: {}", file.path, system_message(error));
    }
    if (!S_ISREG(info.st_mode))
        fail(ErrorKind::bad_input, "{}: is not a regular file; expected a .gguf file", file.path);
    ::fcntl(fd, F_SETFL, 0);
    ::posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);  // no reading ahead: the pieces are all that is wanted
    file.bytes = info.st_size;
    file.modified_ns = modified_ns(info);
    if (access == ReadAccess::buffered)
        file.not_direct_because = "as asked for";
    else
        open_direct(file, access);
}

void ReadFiles::open_direct(File& file, ReadAccess access) {
    const auto refused = [&](std::string why) {
        if (access == ReadAccess::direct)
            fail(ErrorKind::unsupported,
                 "{}: no direct reads (O_DIRECT): {}. Read through the page cache instead", file.path, why);
        file.not_direct_because = std::move(why);
    };
    Descriptor direct(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat first {};
    struct stat second {};
    if (direct.get() < 0 || ::fstat(direct.get(), &second) != 0 ||
        ::fstat(file.buffered_fd.get(), &first) != 0) {
        const int error = errno;
        fail(ErrorKind::io, "{}: cannot open a second time: {}", file.path, system_message(error));
    }
    if (first.st_ino != second.st_ino || first.st_dev != second.st_dev)
        fail(ErrorKind::io, "{}: was replaced while it was opened. Start again", file.path);
    if (::fcntl(direct.get(), F_SETFL, O_DIRECT) != 0) return refused(system_message(errno));
    const std::int64_t alignment = direct_alignment(direct.get());
    if (alignment < 0 || (alignment > 0 && !std::has_single_bit(static_cast<std::uint64_t>(alignment))))
        return refused("the file system allows none for this file");
    alignment_ = std::max(alignment_, alignment);
    file.direct_fd = std::move(direct);
    file.direct.store(true, std::memory_order_relaxed);
}

std::string ReadFiles::describe() const {
    int n_buffered = 0;
    std::string why;
    for (const File& file : files_) {
        if (file.direct.load(std::memory_order_relaxed)) continue;
        ++n_buffered;
        why = file.not_direct_because.empty() ? "the file system refused a direct read"
                                              : file.not_direct_because;
    }
    std::string direct = fmt::format("O_DIRECT in blocks of {} bytes", alignment_);
    if (n_buffered == 0) return direct;
    if (n_buffered == size()) return fmt::format("through the page cache ({})", why);
    return fmt::format("{}; {} of {} files through the page cache ({})", direct, n_buffered, size(), why);
}

void ReadFiles::check(const ByteRange& range) const {
    if (range.file < 0 || range.file >= size())
        fail(ErrorKind::bad_input, "file {} of a byte range; expected 0 to {}", range.file, size() - 1);
    const File& file = files_[static_cast<std::size_t>(range.file)];
    if (range.offset < 0 || range.bytes <= 0 || range.bytes > file.bytes ||
        range.offset > file.bytes - range.bytes)
        fail(
            ErrorKind::bad_input,
            "{}: {} bytes at offset {}; expected a range within the {} bytes of the file. Download it again?",
            file.path, range.bytes, range.offset, file.bytes);
}

ReadOp ReadFiles::begin(const Piece& piece) const noexcept {
    const File& file = files_[static_cast<std::size_t>(piece.range.file)];
    const auto address = reinterpret_cast<std::uintptr_t>(piece.to);
    const std::int64_t in_block = piece.range.offset % alignment_;
    ReadOp op;
    op.piece = piece;
    op.direct = file.direct.load(std::memory_order_relaxed) &&
                address % static_cast<std::uintptr_t>(alignment_) == static_cast<std::uintptr_t>(in_block);
    op.fd = op.direct ? file.direct_fd.get() : file.buffered_fd.get();
    op.fd_index = piece.range.file * 2 + (op.direct ? 1 : 0);
    const std::int64_t before = op.direct ? in_block : 0;
    op.offset = piece.range.offset - before;
    op.to = piece.to - before;
    op.needed_bytes = before + piece.range.bytes;
    op.bytes = op.direct ? (op.needed_bytes + alignment_ - 1) / alignment_ * alignment_ : op.needed_bytes;
    return op;
}

bool ReadFiles::advance(ReadOp& op, std::int64_t result) {
    if (faults_ != nullptr) result = faults_->after_read(result, alignment_);
    File& file = files_[static_cast<std::size_t>(op.piece.range.file)];
    if ((result == -EINTR || result == -EAGAIN) && ++op.n_retries < kMaxRetries) return true;
    if (result == -EINVAL && op.direct) {  // opened with O_DIRECT, but it cannot read that way
        file.direct.store(false, std::memory_order_relaxed);
        op = begin(op.piece);
        return true;
    }
    const ByteRange& range = op.piece.range;
    if (result < 0) {
        give_up(op, static_cast<int>(-result));
        return false;
    }
    if (result < op.needed_bytes) {
        // A direct read that ends within a block has met the end of the file.
        if (result == 0 || (op.direct && result % alignment_ != 0)) {
            op.error = cut_short(file, op);
            return false;
        }
        op.offset += result;
        op.bytes -= result;
        op.needed_bytes -= result;
        op.to += result;
        return true;
    }
    op.error = changed(file);
    if (!op.direct) ::posix_fadvise(op.fd, range.offset, range.bytes, POSIX_FADV_DONTNEED);
    return false;
}

void ReadFiles::give_up(ReadOp& op, int error_number) const {
    const ByteRange& range = op.piece.range;
    op.error =
        Error(ErrorKind::io,
              fmt::format("{}: cannot read {} bytes at offset {}: {}. Check the disk (dmesg) and try again",
                          files_[static_cast<std::size_t>(range.file)].path, range.bytes, range.offset,
                          system_message(error_number)));
}

std::optional<Error> ReadFiles::changed(const File& file) const {
    struct stat now {};
    if (::fstat(file.buffered_fd.get(), &now) != 0) {
        const int error = errno;
        return Error(ErrorKind::io, fmt::format("{}: cannot stat: {}", file.path, system_message(error)));
    }
    if (now.st_size == file.bytes && modified_ns(now) == file.modified_ns) return std::nullopt;
    return Error(
        ErrorKind::io,
        fmt::format("{}: was written to while in use ({} bytes, {} when it was opened). Weights of two "
                    "versions must not be mixed; leave the file alone and start again",
                    file.path, static_cast<std::int64_t>(now.st_size), file.bytes));
}

Error ReadFiles::cut_short(const File& file, const ReadOp& op) const {
    struct stat now {};
    const std::int64_t bytes_now =
        ::fstat(file.buffered_fd.get(), &now) == 0 ? std::int64_t{now.st_size} : file.bytes;
    const ByteRange& range = op.piece.range;
    const std::int64_t got = std::max<std::int64_t>(op.offset - range.offset, 0);
    return {ErrorKind::io,
            fmt::format(
                "{}: got {} of {} bytes at offset {}; the file has {} bytes and had {} when it was opened. "
                "If it was truncated, restore it, and start again",
                file.path, got, range.bytes, range.offset, bytes_now, file.bytes)};
}

}  // namespace greenroom::cache
