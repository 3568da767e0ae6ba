#pragma once

// The GPUs of this machine, and in words why there are none.
//
// Asking never throws: a build without CUDA, a machine without a driver or a driver that refuses give an
// empty list and a gpu_status() that says so. Any thread may ask. list_devices() initializes the driver and
// leaves a context on each device (some 100 ms and a few 100 MB of VRAM each), so a command that needs no GPU
// should not call it.

#include <cstdint>
#include <string>
#include <vector>

namespace greenroom::gpu {

struct DeviceInfo {
    int index = 0;  // as CUDA counts, after CUDA_VISIBLE_DEVICES
    std::string name;
    std::uint64_t total_bytes = 0;
    std::uint64_t free_bytes = 0;  // at the time of the call; 0 when the device does not let us in
    int compute_major = 0;
    int compute_minor = 0;

    // Kernels are compiled for Turing (7.5) and later.
    bool supported() const noexcept {
        return compute_major > 7 || (compute_major == 7 && compute_minor >= 5);
    }
};

// In CUDA's order.
std::vector<DeviceInfo> list_devices();

// "built without CUDA", "no NVIDIA driver found", "1 device", "2 devices", or what the driver objects to.
std::string gpu_status();

// Makes this device the one on which the calling thread makes buffers, streams and events; every thread
// begins with device 0. Error{device} if there is none of this index, Error{unsupported} in a build without
// CUDA.
void use_device(int index);

}  // namespace greenroom::gpu
