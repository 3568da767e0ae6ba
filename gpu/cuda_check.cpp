#include "gpu/cuda_check.h"

#include <cuda_runtime_api.h>

#include <cstddef>

namespace greenroom::gpu {
namespace {

// After these the device's context is lost: whatever is called next fails in the same way.
const char* advice(cudaError_t status) {
    switch (status) {
        case cudaErrorIllegalAddress:
        case cudaErrorLaunchFailure:
            return ". The GPU can't be used any more by this process. This is a defect; compute-sanitizer "
                   "finds the "
                   "place";
        case cudaErrorNoDevice:
        case cudaErrorInsufficientDriver:
            return ". `greenroom inspect` lists what is usable here";
        default:
            return "";
    }
}

}  // namespace

void cuda_fail(int status, const std::string& doing) {
    const auto error = static_cast<cudaError_t>(status);
    const std::string answer =
        fmt::format("{}: {} ({})", doing, cudaGetErrorString(error), cudaGetErrorName(error));
    cudaGetLastError();
    if (error == cudaErrorMemoryAllocation) fail(ErrorKind::out_of_memory, "{}", answer);
    fail(ErrorKind::device, "{}{}", answer, advice(error));
}

// Declared in device.cuh, which ordinary C++ can't include.
[[noreturn]] void launch_failed(int status, const char* name, unsigned (&grid)[3], unsigned (&block)[3],
                                std::size_t shared_bytes);

void launch_failed(int status, const char* name, unsigned (&grid)[3], unsigned (&block)[3],
                   std::size_t shared_bytes) {
    cuda_fail(
        status,
        fmt::format("launching {}, {} x {} x {} blocks of {} x {} x {} threads, {} bytes of shared memory",
                    name, grid[0], grid[1], grid[2], block[0], block[1], block[2], shared_bytes));
}

}  // namespace greenroom::gpu
