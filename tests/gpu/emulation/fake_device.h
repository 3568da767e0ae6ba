#pragma once

// What the emulated runtime calls share: the device's state, one per program as a GPU is, and the beginning
// of each call.

#include "tests/gpu/emulation/control.h"

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace greenroom::emulation {

enum class Kind { device, pinned, registered };

struct Allocation {
    std::int64_t bytes = 0;
    Kind kind = Kind::device;
};

struct InjectedFailure {
    std::string call;
    cudaError_t status;
    int n_successes;
};

struct FakeDevice {
    std::mutex mu;  // guards all but the atomics
    std::map<std::uintptr_t, Allocation> allocations;
    std::int64_t vram_bytes = 0;
    std::int64_t vram_used = 0;
    std::int64_t pinned_limit = 0;
    std::int64_t pinned_used = 0;
    std::vector<InjectedFailure> failures;
    std::map<CUstream_st*, std::shared_ptr<CUstream_st>> streams;
    std::string fault;
    Counts counts;
    std::map<const void*, std::int64_t> shared_limits;  // set by cudaFuncSetAttribute

    // The error that all calls return since the device was lost; else cudaSuccess.
    std::atomic<cudaError_t> lost{cudaSuccess};
    std::atomic<std::int64_t> copy_delay_us{0};
    std::atomic<std::int64_t> kernel_delay_us{0};
    std::atomic<LaneOrder> order{LaneOrder::forward};
    std::atomic<std::uint32_t> seed{1};
};

FakeDevice& device();

// Whether a call of this name goes ahead: not with a lost device, no device or an injected failure.
cudaError_t begin_call(const char* name);

// Sets the calling thread's last error unless it is success, and returns the status.
cudaError_t finish_call(cudaError_t status);

// Is all of it allocated from, or registered with, the device?
bool is_known(const void* memory, std::size_t bytes);
bool is_device(const void* memory);

// Ends everything with this error; the first fault counts.
void lose_device(cudaError_t status, const std::string& fault);

// Is the calling thread in the middle of a capture, in which calls that wait are refused? In graphs.cpp.
bool thread_is_capturing();

// Returns when all streams are idle. In streams.cpp.
void wait_for_all_streams();

}  // namespace greenroom::emulation
