#pragma once

// DeviceWeights: what every token needs (all weights but the routed experts) of the layers that the GPU runs,
// in the GPU's memory: the matrices in their native blocks, each view by itself and aligned for the kernels,
// and the arrays. The matrices come from the files, without a copy of them in RAM (staged_upload.h).

#include "cache/ssd_reader.h"
#include "gpu/memory.h"
#include "quant/base/log.h"
#include "quant/gguf.h"
#include "runtime/layer_range.h"
#include "runtime/weights.h"

#include <cstdint>

namespace greenroom::gpu {
class Stream;
}

namespace greenroom::runtime {

class DeviceWeights {
  public:
    // Returns when everything is there. host: the matrices of these layers are in the mapped file; the reader
    // is of its files, and all ours meanwhile. Error{out_of_memory} by the budget, which must outlive it, or
    // by the device, and those of upload_files().
    DeviceWeights(const quant::Gguf& file, const Weights& host, LayerRange layers, cache::SsdReader& reader,
                  gpu::DeviceBudget& budget, gpu::Stream& stream, const ProgressFn& progress);

    // As `host` was, with every view and array of the layers but the routed experts' pointed to the GPU's
    // memory.
    const Weights& weights() const noexcept { return weights_; }

    std::int64_t bytes() const noexcept { return memory_.bytes(); }
    // The same beforehand.
    static std::int64_t bytes_needed(const Weights& host, LayerRange layers);

  private:
    Weights weights_;
    gpu::DeviceBuffer memory_;
};

}  // namespace greenroom::runtime
