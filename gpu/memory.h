#pragma once

// Memory of the GPU and pinned memory of the host: who owns how much of it.
//
// All of it is reserved when a model is loaded; nothing here is called for a token. Buffers hold unspecified
// bytes at first and are given back by their destructors, which wait for the work of all streams. Buffers
// belong to the device that is current when they are made. Sizes are in bytes.

#include "quant/base/error.h"

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::gpu {

// What the current device has free now, for all programs.
std::int64_t free_device_bytes();

// What we allow ourselves of a device's memory. Buffers take their bytes from it before they ask the device,
// so that a plan that does not fit is refused by the plan's numbers. Any thread may call it.
class DeviceBudget {
  public:
    explicit DeviceBudget(std::int64_t total_bytes);

    std::int64_t total_bytes() const noexcept { return total_bytes_; }
    std::int64_t used_bytes() const;
    std::int64_t free_bytes() const;

    // Error{out_of_memory} if `bytes` is more than what is left; `what` names their purpose.
    void take(std::int64_t bytes, std::string_view what);
    void give_back(std::int64_t bytes) noexcept;

  private:
    const std::int64_t total_bytes_;
    mutable std::mutex mu_;
    std::int64_t used_bytes_ = 0;  // guarded by mu_
};

// Device memory, aligned to 256 bytes. Counts against the budget in whole 256 bytes.
class DeviceBuffer {
  public:
    DeviceBuffer() = default;  // holds nothing
    // Error{out_of_memory} by the budget or by the device. The budget must outlive the buffer.
    DeviceBuffer(DeviceBudget& budget, std::int64_t bytes, std::string_view what);
    ~DeviceBuffer() { release(); }
    DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
    DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
        swap(other);
        return *this;
    }

    std::byte* data() const noexcept { return data_; }
    std::int64_t bytes() const noexcept { return bytes_; }
    template <class T>
    T* as() const noexcept {
        return reinterpret_cast<T*>(data_);
    }

  private:
    void swap(DeviceBuffer& other) noexcept;
    void release() noexcept;

    DeviceBudget* budget_ = nullptr;
    std::byte* data_ = nullptr;
    std::int64_t bytes_ = 0;
};

// What to do when the system or the driver won't pin as much memory as is asked for.
enum class Pinning {
    required,   // Error{out_of_memory}
    preferred,  // ordinary memory instead, and a warning in the log: copies then take the caller's time, and
                // kernels can't reach it
};

// Host memory that the device reaches too: copies to and from it run beside the host, and kernels read and
// write it under the same address. Aligned to 256 bytes.
class PinnedBuffer {
  public:
    PinnedBuffer() = default;  // holds nothing
    PinnedBuffer(std::int64_t bytes, std::string_view what, Pinning pinning = Pinning::required);
    ~PinnedBuffer() { release(); }
    PinnedBuffer(PinnedBuffer&& other) noexcept { swap(other); }
    PinnedBuffer& operator=(PinnedBuffer&& other) noexcept {
        swap(other);
        return *this;
    }

    std::byte* data() const noexcept { return data_; }
    std::int64_t bytes() const noexcept { return bytes_; }
    bool pinned() const noexcept { return pinned_; }
    template <class T>
    T* as() const noexcept {
        return reinterpret_cast<T*>(data_);
    }

  private:
    void swap(PinnedBuffer& other) noexcept;
    void release() noexcept;

    std::byte* data_ = nullptr;
    std::int64_t bytes_ = 0;
    bool pinned_ = false;
};

// What `make` returns, which pins memory; nothing where that is more than can be pinned, and why not.
template <class Make>
auto if_pinned(const Make& make, std::string* why = nullptr) -> std::optional<decltype(make())> {
    try {
        return make();
    } catch (const Error& error) {
        if (error.kind() != ErrorKind::out_of_memory) throw;
        if (why != nullptr) *why = error.what();
        return std::nullopt;
    }
}

// Pins memory that somebody else owns (the slots of a RAM tier), piece by piece from its beginning, as far as
// the system allows. How far can't be known without trying: RLIMIT_MEMLOCK, containers, WSL and the driver
// each have limits of their own.
class PinnedRegion {
  public:
    PinnedRegion() = default;  // nothing
    // data: page-aligned, and outlives the region. Pieces are whole multiples of granule_bytes (a multiple of
    // 4096: a slot), so that a granule never lies in two pieces, which no copy may span.
    PinnedRegion(std::byte* data, std::int64_t bytes, std::int64_t granule_bytes);
    ~PinnedRegion() { release(); }
    PinnedRegion(PinnedRegion&& other) noexcept { swap(other); }
    PinnedRegion& operator=(PinnedRegion&& other) noexcept {
        swap(other);
        return *this;
    }

    // A prefix of the region.
    std::int64_t pinned_bytes() const noexcept { return pinned_bytes_; }
    bool is_pinned(const std::byte* from, std::int64_t bytes) const noexcept;
    // Why there is no more, in CUDA's words; "" where all is pinned.
    const std::string& refusal() const noexcept { return refusal_; }

  private:
    void swap(PinnedRegion& other) noexcept;
    void release() noexcept;

    std::byte* data_ = nullptr;
    std::int64_t pinned_bytes_ = 0;
    std::string refusal_;
    std::vector<std::byte*> pieces_;
};

}  // namespace greenroom::gpu
