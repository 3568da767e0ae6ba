#include "runtime/gpu_probe.h"

namespace greenroom::runtime {

std::optional<GpuMeasurements> probe_gpu(const GpuProbeOptions& /*options*/) { return std::nullopt; }

std::string installed_gpus(const std::string& /*folder*/) { return {}; }

}  // namespace greenroom::runtime
