#include "gpu/memory.h"

#include "gpu/cuda_check.h"
#include "quant/base/log.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <functional>
#include <new>
#include <utility>

namespace greenroom::gpu {
namespace {

constexpr std::int64_t kAlignment = 256;
constexpr std::int64_t kPageBytes = 4096;
// Of a region: a few dozen calls pin it, and little is lost where the limit lies.
constexpr std::int64_t kLeastPieces = 32;
constexpr std::int64_t kPieceBytes = std::int64_t{256} << 20;

std::int64_t rounded(std::int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The reason in CUDA's words, and no error left behind.
const char* take_error(cudaError_t status) {
    cudaGetLastError();
    return cudaGetErrorString(status);
}

}  // namespace

std::int64_t free_device_bytes() {
    std::size_t free_bytes = 0;
    std::size_t total_bytes = 0;
    cuda_check(cudaMemGetInfo(&free_bytes, &total_bytes), "asking for the GPU's free memory");
    return static_cast<std::int64_t>(free_bytes);
}

DeviceBudget::DeviceBudget(std::int64_t total_bytes) : total_bytes_(total_bytes) {
    GR_CHECK(total_bytes >= 0);
}

std::int64_t DeviceBudget::used_bytes() const {
    const std::lock_guard lock(mu_);
    return used_bytes_;
}

std::int64_t DeviceBudget::free_bytes() const { return total_bytes_ - used_bytes(); }

void DeviceBudget::take(std::int64_t bytes, std::string_view what) {
    GR_CHECK(bytes >= 0);
    const std::lock_guard lock(mu_);
    if (bytes > total_bytes_ - used_bytes_)
        fail(ErrorKind::out_of_memory,
             "{}: {} bytes of GPU memory, but of {} allowed {} are in use. Allow more, or "
             "ask for a smaller context",
             what, bytes, total_bytes_, used_bytes_);
    used_bytes_ += bytes;
}

void DeviceBudget::give_back(std::int64_t bytes) noexcept {
    const std::lock_guard lock(mu_);
    used_bytes_ -= bytes;
}

DeviceBuffer::DeviceBuffer(DeviceBudget& budget, std::int64_t bytes, std::string_view what) {
    budget.take(rounded(bytes), what);
    if (bytes > 0) {
        void* memory = nullptr;
        const cudaError_t status = cudaMalloc(&memory, static_cast<std::size_t>(bytes));
        if (status != cudaSuccess) {
            budget.give_back(rounded(bytes));
            std::size_t free_bytes = 0;
            std::size_t total_bytes = 0;
            cudaMemGetInfo(&free_bytes, &total_bytes);
            cuda_check(status, "{}: reserving {} bytes of GPU memory, of which {} of {} are free", what,
                       bytes, free_bytes, total_bytes);
        }
        data_ = static_cast<std::byte*>(memory);
    }
    budget_ = &budget;
    bytes_ = bytes;
}

void DeviceBuffer::swap(DeviceBuffer& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
}

void DeviceBuffer::release() noexcept {
    if (budget_ == nullptr) return;
    cudaFree(data_);
    cudaGetLastError();
    budget_->give_back(rounded(bytes_));
}

PinnedBuffer::PinnedBuffer(std::int64_t bytes, std::string_view what, Pinning pinning) : bytes_(bytes) {
    GR_CHECK(bytes >= 0);
    if (bytes == 0) return;
    void* memory = nullptr;
    const cudaError_t status =
        cudaHostAlloc(&memory, static_cast<std::size_t>(bytes), cudaHostAllocPortable | cudaHostAllocMapped);
    if (status == cudaSuccess) {
        data_ = static_cast<std::byte*>(memory);
        pinned_ = true;
        return;
    }
    if (pinning == Pinning::required) cuda_check(status, "{}: pinning {} bytes of host memory", what, bytes);
    log_warning("{}: can't pin {} bytes of host memory ({}); using ordinary memory, copies will be slower",
                what, bytes, take_error(status));
    data_ = static_cast<std::byte*>(
        ::operator new (static_cast<std::size_t>(bytes), std::align_val_t{kAlignment}));
}

void PinnedBuffer::swap(PinnedBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(pinned_, other.pinned_);
}

void PinnedBuffer::release() noexcept {
    if (data_ == nullptr) return;
    if (pinned_) {
        cudaFreeHost(data_);
        cudaGetLastError();
    } else {
        ::operator delete (data_, std::align_val_t{kAlignment});
    }
}

PinnedRegion::PinnedRegion(std::byte* data, std::int64_t bytes, std::int64_t granule_bytes) : data_(data) {
    GR_CHECK(bytes >= 0 && granule_bytes > 0 && granule_bytes % kPageBytes == 0);
    const std::int64_t most_bytes = std::min(kPieceBytes, bytes / kLeastPieces);
    const std::int64_t piece_bytes = std::max<std::int64_t>(1, most_bytes / granule_bytes) * granule_bytes;
    pieces_.reserve(static_cast<std::size_t>(bytes / piece_bytes + 1));
    while (pinned_bytes_ < bytes) {
        const std::int64_t n = std::min(piece_bytes, bytes - pinned_bytes_);
        const cudaError_t status = cudaHostRegister(data + pinned_bytes_, static_cast<std::size_t>(n),
                                                    cudaHostRegisterPortable | cudaHostRegisterMapped);
        if (status != cudaSuccess) {
            refusal_ = take_error(status);
            return;
        }
        pieces_.push_back(data + pinned_bytes_);
        pinned_bytes_ += n;
    }
}

bool PinnedRegion::is_pinned(const std::byte* from, std::int64_t bytes) const noexcept {
    const std::less_equal<> ordered;
    return pinned_bytes_ > 0 && ordered(data_, from) && ordered(from + bytes, data_ + pinned_bytes_);
}

void PinnedRegion::swap(PinnedRegion& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(pinned_bytes_, other.pinned_bytes_);
    std::swap(refusal_, other.refusal_);
    std::swap(pieces_, other.pieces_);
}

void PinnedRegion::release() noexcept {
    for (std::byte* piece : pieces_) cudaHostUnregister(piece);
    if (!pieces_.empty()) cudaGetLastError();
}

}  // namespace greenroom::gpu
