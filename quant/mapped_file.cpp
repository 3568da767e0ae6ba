#include "quant/mapped_file.h"

#include "quant/base/error.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace greenroom::quant {
namespace {

std::string system_message(int error_number) { return std::generic_category().message(error_number); }

// Closes the descriptor at the end of the scope; a mapping outlives its descriptor.
class Descriptor {
  public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return fd_; }

  private:
    int fd_;
};

}  // namespace

MappedFile::MappedFile(const std::string& path) {
    // O_NONBLOCK: opening a FIFO must not hang before we can refuse it.
    const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0) {
        const int error = errno;
        fail(ErrorKind::io, "{}: cannot open: {}", path, system_message(error));
    }
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) {
        const int error = errno;
        fail(ErrorKind::io, "{}: cannot stat: {}", path, system_message(error));
    }
    if (S_ISDIR(info.st_mode))
        fail(ErrorKind::bad_input, "{}: is a directory; expected a file. Name the .gguf file inside it",
             path);
    if (!S_ISREG(info.st_mode))
        fail(ErrorKind::bad_input, "{}: is not a regular file; expected a file that can be mapped", path);
    if (info.st_size <= 0) fail(ErrorKind::bad_input, "{}: is empty (0 bytes). Download it again?", path);

    const auto size = static_cast<std::size_t>(info.st_size);
    void* mapping = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (mapping == MAP_FAILED) {
        const int error = errno;
        fail(ErrorKind::io, "{}: cannot map {} bytes: {}", path, size, system_message(error));
    }
    data_ = static_cast<const std::byte*>(mapping);
    size_ = size;
}

MappedFile::~MappedFile() {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
}

}  // namespace greenroom::quant
