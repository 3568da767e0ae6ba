#include "gpu/device.h"

namespace greenroom::gpu {

std::vector<DeviceInfo> list_devices() { return {}; }

std::string gpu_status() { return "built without CUDA"; }

}  // namespace greenroom::gpu
