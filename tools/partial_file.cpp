#include "tools/partial_file.h"

#include "quant/base/error.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

namespace greenroom::tools {

PartialFile::PartialFile(const std::string& path, std::int64_t bytes) : path_(path), partial_path_(path) {
    std::error_code ignored;
    const std::filesystem::file_status status = std::filesystem::status(path_, ignored);
    const bool exists = std::filesystem::exists(status);
    if (std::filesystem::is_directory(status)) fail_with("cannot create", EISDIR);
    // Renaming must replace what a symbolic link points to, not the link.
    if (std::filesystem::is_regular_file(status)) path_ = std::filesystem::canonical(path_).string();
    if (!exists || std::filesystem::is_regular_file(status)) partial_path_ = path_ + ".partial";

    fd_ = ::open(partial_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd_ < 0) fail_with("cannot create", errno);
    if (partial_path_ == path_ || bytes == 0) return;
    try {
        reserve(bytes);
    } catch (...) {
        // No destructor runs for a constructor that throws.
        ::close(fd_);
        ::unlink(partial_path_.c_str());
        throw;
    }
}

PartialFile::~PartialFile() {
    if (fd_ < 0) return;
    ::close(fd_);
    if (partial_path_ != path_) ::unlink(partial_path_.c_str());
}

void PartialFile::reserve(std::int64_t bytes) {
    // Not posix_fallocate(): where the file system can't reserve, it writes a byte to every block instead.
    int error = 0;
    do error = ::fallocate(fd_, 0, 0, bytes) == 0 ? 0 : errno;
    while (error == EINTR);
    if (error == EOPNOTSUPP || error == ENOSYS) error = ::ftruncate(fd_, bytes) == 0 ? 0 : errno;
    if (error != 0) fail_with(fmt::format("cannot reserve {} bytes", bytes), error);
}

void PartialFile::write_at(std::int64_t offset, const void* data, std::size_t bytes) {
    const char* at = static_cast<const char*>(data);
    while (bytes > 0) {
        const ssize_t written = ::pwrite(fd_, at, bytes, offset);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail_with("cannot write", errno);
        at += written;
        offset += written;
        bytes -= static_cast<std::size_t>(written);
    }
}

void PartialFile::commit() {
    // A remote file system may say only here that it is full.
    if (::close(std::exchange(fd_, -1)) != 0) {
        const int error = errno;
        if (partial_path_ != path_) ::unlink(partial_path_.c_str());
        fail_with("cannot write", error);
    }
    if (partial_path_ != path_ && std::rename(partial_path_.c_str(), path_.c_str()) != 0) {
        const int error = errno;
        ::unlink(partial_path_.c_str());
        fail_with("cannot rename the finished file", error);
    }
}

void write_file(const std::string& path, std::string_view bytes) {
    PartialFile file(path, static_cast<std::int64_t>(bytes.size()));
    file.write_at(0, bytes.data(), bytes.size());
    file.commit();
}

void check_can_create(const std::string& path) {
    std::error_code ignored;
    const std::filesystem::file_status status = std::filesystem::status(path, ignored);
    // Who reads a pipe would take its closing for the end.
    if (!std::filesystem::exists(status) || std::filesystem::is_regular_file(status) ||
        std::filesystem::is_directory(status)) {
        const PartialFile trial(path, 0);
    }
}

void PartialFile::fail_with(std::string_view what, int error_number) const {
    fail(ErrorKind::io, "{}: {}: {}", path_, what, std::generic_category().message(error_number));
}

}  // namespace greenroom::tools
