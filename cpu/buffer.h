#pragma once

// Buffer: page-aligned float32 memory of its own, zero at first, given back by the destructor. Scratch: one
// such row per thread of a team.

#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

class Buffer {
  public:
    Buffer() = default;
    // Error{out_of_memory} when the system refuses. n_floats may be 0.
    explicit Buffer(std::int64_t n_floats);
    ~Buffer();
    Buffer(Buffer&& other) noexcept;
    Buffer& operator=(Buffer&& other) noexcept;

    float* data() const noexcept { return data_; }
    std::int64_t size() const noexcept { return n_floats_; }
    std::int64_t bytes() const noexcept { return n_floats_ * static_cast<std::int64_t>(sizeof(float)); }

  private:
    float* data_ = nullptr;
    std::int64_t n_floats_ = 0;
};

class Scratch {
  public:
    Scratch(int n_threads, std::int64_t floats_per_thread);

    // floats_per_thread() floats that only this thread uses; nothing is kept from one operation to the next.
    float* of(int thread) const noexcept { return buffer_.data() + thread * stride_; }
    std::int64_t floats_per_thread() const noexcept { return floats_per_thread_; }
    std::int64_t bytes() const noexcept { return buffer_.bytes(); }

  private:
    std::int64_t floats_per_thread_;
    std::int64_t stride_;  // rounded up, so that no two threads share a cache line
    Buffer buffer_;
};

}  // namespace greenroom::cpu
