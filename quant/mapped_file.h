#pragma once

// MappedFile: a regular file mapped read-only and shared, closed by the destructor.

#include <cstddef>
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

  private:
    const std::byte* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace greenroom::quant
