#include "gpu/device.h"
#include "quant/base/error.h"
#include "runtime/gpu_lane.h"

namespace greenroom::runtime {

bool GpuLane::is_built() noexcept { return false; }

GpuPlan GpuLane::plan(const GpuModel& /*model*/, const GpuOptions& /*options*/,
                      const SessionPlan& /*session*/, int /*n_sessions*/) {
    fail(ErrorKind::device, "no GPU can be used: {}", gpu::gpu_status());
}

std::unique_ptr<GpuLane> GpuLane::open(const GpuModel& model, const GpuOptions& options,
                                       const GpuPlan& /*plan*/, const SessionPlan& session, int n_sessions,
                                       const ProgressFn& /*progress*/) {
    plan(model, options, session, n_sessions);
    return nullptr;
}

}  // namespace greenroom::runtime
