#include "quant/mapped_file.h"

#include "quant/base/error.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace greenroom::quant {
namespace {

std::string system_message(int error_number) { return std::generic_category().message(error_number); }

}  // namespace

MappedFile::MappedFile(const std::string& path) : path_(path) {
    // O_NONBLOCK: opening a FIFO must not hang before we can refuse it.
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd_ < 0) {
        const int error = errno;
        fail(ErrorKind::io, "{}: cannot open: {}", path, system_message(error));
    }
    try {
        map();
    } catch (...) {
        ::close(fd_);
        throw;
    }
}

void MappedFile::map() {
    struct stat info {};
    if (::fstat(fd_, &info) != 0) {
        const int error = errno;
        fail(ErrorKind::io, "{}: cannot stat: {}", path_, system_message(error));
    }
    if (S_ISDIR(info.st_mode))
        fail(ErrorKind::bad_input, "{}: is a directory; expected a file. Name the one inside it", path_);
    if (!S_ISREG(info.st_mode))
        fail(ErrorKind::bad_input, "{}: is not a regular file; expected a file that can be mapped", path_);
    if (info.st_size <= 0) fail(ErrorKind::bad_input, "{}: is empty (0 bytes). Was the disk full?", path_);

    const auto size = static_cast<std::size_t>(info.st_size);
    void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd_, 0);
    if (mapping == MAP_FAILED) {
        const int error = errno;
        fail(ErrorKind::io, "{}: cannot map {} bytes: {}", path_, size, system_message(error));
    }
    data_ = static_cast<const std::byte*>(mapping);
    size_ = size;
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
    if (fd_ >= 0) ::close(fd_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(fd_, other.fd_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

void MappedFile::own_first(std::size_t n) {
    // Filled beside the mapping and then moved over it, so that nothing is ever missing.
    void* copy = ::mmap(nullptr, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        fail(ErrorKind::out_of_memory, "{}: no memory for {} bytes of metadata", path_, n);
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    const std::size_t whole = std::min((n + page - 1) / page * page, size_);
    try {
        read(0, {static_cast<std::byte*>(copy), whole});
    } catch (...) {
        ::munmap(copy, n);
        throw;
    }
    ::mprotect(copy, n, PROT_READ);
    void* at = const_cast<std::byte*>(data_);
    if (::mremap(copy, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, at) == MAP_FAILED) {
        const int error = errno;
        ::munmap(copy, n);
        fail(ErrorKind::out_of_memory, "{}: cannot keep {} bytes of metadata: {}", path_, n,
             system_message(error));
    }
}

void MappedFile::read(std::uint64_t offset, std::span<std::byte> to) const {
    while (!to.empty()) {
        const ::ssize_t n = ::pread(fd_, to.data(), to.size(), static_cast<::off_t>(offset));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            const int error = errno;
            fail(ErrorKind::io, "{}: read {} bytes at {}: {}", path_, to.size(), offset,
                 system_message(error));
        }
        if (n == 0)
            fail(ErrorKind::io,
                 "{}: read {} bytes at {}: the file ends there; it had {} bytes when it was opened. Has it "
                 "been changed?",
                 path_, to.size(), offset, size_);
        to = to.subspan(static_cast<std::size_t>(n));
        offset += static_cast<std::uint64_t>(n);
    }
}

}  // namespace greenroom::quant
