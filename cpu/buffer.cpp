#include "cpu/buffer.h"

#include "quant/base/error.h"

#include <sys/mman.h>

#include <utility>

namespace greenroom::cpu {
namespace {

constexpr std::int64_t kFloatsPerCacheLine = 16;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

}  // namespace

Buffer::Buffer(std::int64_t n_floats) : n_floats_(n_floats) {
    if (n_floats == 0) return;
    const auto n_bytes = static_cast<std::size_t>(bytes());
    void* memory = ::mmap(nullptr, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        fail(ErrorKind::out_of_memory,
             "cannot reserve {} bytes of memory. Use a smaller context (-c) or batch (-b)", n_bytes);
    data_ = static_cast<float*>(memory);
    // Attention reads a piece of each of many rows that are far apart: with pages of 4 KiB it waits for their
    // addresses. Where the system has no huge pages to give, nothing is lost.
    if (n_bytes >= 2 * kHugePageBytes) static_cast<void>(::madvise(memory, n_bytes, MADV_HUGEPAGE));
}

Buffer::~Buffer() {
    if (data_ != nullptr) ::munmap(data_, static_cast<std::size_t>(bytes()));
}

Buffer::Buffer(Buffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), n_floats_(std::exchange(other.n_floats_, 0)) {}

Buffer& Buffer::operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(n_floats_, other.n_floats_);
    return *this;
}

Scratch::Scratch(int n_threads, std::int64_t floats_per_thread)
    : floats_per_thread_(floats_per_thread),
      stride_((floats_per_thread + kFloatsPerCacheLine - 1) / kFloatsPerCacheLine * kFloatsPerCacheLine),
      buffer_(n_threads * stride_) {}

}  // namespace greenroom::cpu
