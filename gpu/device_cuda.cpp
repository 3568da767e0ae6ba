#include "gpu/device.h"

#include "gpu/cuda_check.h"

#include <cuda_runtime_api.h>
#include <fmt/format.h>

namespace greenroom::gpu {
namespace {

// Without a driver the first CUDA call fails and leaves its error behind for the next caller to trip over.
cudaError_t count_devices(int& n_devices) {
    n_devices = 0;
    const cudaError_t status = cudaGetDeviceCount(&n_devices);
    if (status == cudaSuccess) return status;
    n_devices = 0;
    cudaGetLastError();
    return status;
}

// CUDA packs 13.0 as 13000.
std::string version_name(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

// Puts the calling thread's current device back.
class CurrentDevice {
  public:
    CurrentDevice() { known_ = cudaGetDevice(&index_) == cudaSuccess; }
    ~CurrentDevice() {
        if (known_) cudaSetDevice(index_);
        cudaGetLastError();
    }
    CurrentDevice(const CurrentDevice&) = delete;
    CurrentDevice& operator=(const CurrentDevice&) = delete;

  private:
    int index_ = 0;
    bool known_ = false;
};

}  // namespace

std::vector<DeviceInfo> list_devices() {
    int n_devices = 0;
    if (count_devices(n_devices) != cudaSuccess) return {};
    const CurrentDevice restore;
    std::vector<DeviceInfo> devices;
    for (int index = 0; index < n_devices; ++index) {
        cudaDeviceProp properties{};
        if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) continue;
        DeviceInfo& device = devices.emplace_back();
        device.index = index;
        device.name = properties.name;
        device.total_bytes = properties.totalGlobalMem;
        device.compute_major = properties.major;
        device.compute_minor = properties.minor;
        std::size_t free_bytes = 0;
        std::size_t total_bytes = 0;
        if (cudaSetDevice(index) == cudaSuccess && cudaMemGetInfo(&free_bytes, &total_bytes) == cudaSuccess)
            device.free_bytes = free_bytes;
    }
    return devices;
}

std::string gpu_status() {
    int n_devices = 0;
    const cudaError_t status = count_devices(n_devices);
    if (status == cudaSuccess && n_devices > 0)
        return fmt::format("{} device{}", n_devices, n_devices == 1 ? "" : "s");
    if (status == cudaSuccess || status == cudaErrorNoDevice) return "an NVIDIA driver, but no device";
    if (status == cudaErrorInsufficientDriver) {
        // The runtime reports a missing driver and one that is too old alike; the version tells them apart.
        int driver = 0;
        if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return "no NVIDIA driver found";
        return fmt::format("the NVIDIA driver supports CUDA {}, this program needs {}", version_name(driver),
                           version_name(CUDART_VERSION));
    }
    return fmt::format("CUDA refuses: {}", cudaGetErrorString(status));
}

void use_device(int index) { cuda_check(cudaSetDevice(index), "choosing GPU {}", index); }

}  // namespace greenroom::gpu
