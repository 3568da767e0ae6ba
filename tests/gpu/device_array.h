#pragma once

// Arrays in device memory for tests of kernels: uploaded when made, downloaded when asked for.

#include "gpu/memory.h"
#include "gpu/stream.h"
#include "quant/base/matrix_view.h"

#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::gpu::test {

inline DeviceBudget& test_budget() {
    static DeviceBudget budget(std::int64_t{1} << 30);
    return budget;
}

template <class T>
class DeviceArray {
  public:
    // A copy of these values, there when the constructor returns.
    DeviceArray(Stream& stream, std::span<const T> values)
        : stream_(stream),
          size_(values.size()),
          buffer_(test_budget(), static_cast<std::int64_t>(values.size_bytes()), "test") {
        copy_to_device(stream, buffer_.data(), values.data(), buffer_.bytes());
        stream.synchronize();
    }
    DeviceArray(Stream& stream, const std::vector<T>& values)
        : DeviceArray(stream, std::span<const T>(values)) {}
    // n values, all bytes 0xff: NaN, or -1.
    DeviceArray(Stream& stream, std::size_t n)
        : stream_(stream),
          size_(n),
          buffer_(test_budget(), static_cast<std::int64_t>(n * sizeof(T)), "test") {
        fill_bytes(stream, buffer_.data(), 0xff, buffer_.bytes());
        stream.synchronize();
    }

    T* data() const noexcept { return buffer_.as<T>(); }
    std::size_t size() const noexcept { return size_; }

    // What is there once the stream's work so far is done.
    std::vector<T> download() const {
        std::vector<T> values(size_);
        copy_to_host(stream_, values.data(), buffer_.data(), buffer_.bytes());
        stream_.synchronize();
        return values;
    }

    // As a matrix of rows of n_cols values that follow each other at a distance of stride (0: n_cols).
    MatrixView matrix(std::int64_t n_rows, std::int64_t n_cols,
                      std::int64_t stride = 0) const noexcept requires std::is_same_v<T, float> {
        return {data(), n_rows, n_cols, stride == 0 ? n_cols : stride};
    }

  private:
    Stream& stream_;
    std::size_t size_;
    DeviceBuffer buffer_;
};

}  // namespace greenroom::gpu::test
