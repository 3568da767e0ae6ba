#include "gpu/device.h"

#include "quant/base/error.h"

namespace greenroom::gpu {

std::vector<DeviceInfo> list_devices() { return {}; }

std::string gpu_status() { return "built without CUDA"; }

void use_device(int index) {
    fail(ErrorKind::unsupported,
         "device {}: this program was built without CUDA. Build it where there is a CUDA toolkit", index);
}

}  // namespace greenroom::gpu
