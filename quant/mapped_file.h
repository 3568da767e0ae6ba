#pragma once

// MappedFile: a regular file mapped read-only and shared, closed by the destructor.
//
// Touching a page of the mapping that the file no longer has, because somebody has truncated it, ends the
// process. What must survive that is copied with own_first(), or read with read().

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace greenroom::quant {

class MappedFile {
  public:
    // Error{io} when it cannot be opened or mapped, {bad_input} for a directory, a device or an empty file.
    explicit MappedFile(const std::string& path);
    ~MappedFile();
    MappedFile(MappedFile&& other) noexcept;
    MappedFile& operator=(MappedFile&& other) noexcept;

    const std::byte* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

    // Copies the first n bytes (and what else is on their pages) into memory of the process, at the same
    // addresses. Error{out_of_memory}.
    void own_first(std::size_t n);

    // Copies bytes of the file, not through the mapping. Error{io} when they cannot be read, also where the
    // file has become too short. offset + to.size() <= size().
    void read(std::uint64_t offset, std::span<std::byte> to) const;

  private:
    void map();

    std::string path_;
    int fd_ = -1;
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace greenroom::quant
