#pragma once

// DeviceWeights: what every token needs (all weights but the routed experts), copied to the GPU's memory: the
// matrices in their native blocks, each view by itself and aligned for the kernels, and the arrays.

#include "gpu/memory.h"
#include "runtime/weights.h"

#include <cstdint>

namespace greenroom::gpu {
class Stream;
}

namespace greenroom::runtime {

class DeviceWeights {
  public:
    // Returns when everything is there. host: in memory that can be read. Error{out_of_memory} by the budget,
    // which must outlive it, or by the device.
    DeviceWeights(const Weights& host, gpu::DeviceBudget& budget, gpu::Stream& stream);

    // As `host` was, with every view and array but the routed experts' pointed to the GPU's memory.
    const Weights& weights() const noexcept { return weights_; }

    std::int64_t bytes() const noexcept { return memory_.bytes(); }
    // The same beforehand.
    static std::int64_t bytes_needed(const Weights& host);

  private:
    Weights weights_;
    gpu::DeviceBuffer memory_;
};

}  // namespace greenroom::runtime
