#pragma once

// How a start without a profile comes to its GpuTuning: measured in a hurry, decided as the tuner does
// (runtime/tuning.h).

#include "cpu/parallel.h"
#include "runtime/gpu_probe.h"
#include "runtime/model_spec.h"
#include "runtime/tuning.h"
#include "runtime/weights.h"

#include <cstdint>
#include <functional>
#include <optional>

namespace greenroom::runtime {

struct QuickTuneOptions {
    // Of memory to read meanwhile, at most; but at least an expert.
    std::int64_t memory_bytes = std::int64_t{128} << 20;
    // In all, about. What does not fit is left out, the least important first.
    double seconds = 1.0;
    // The way to the GPU. Tests put their own here.
    std::function<std::optional<GpuMeasurements>(const GpuProbeOptions&)> probe_gpu = runtime::probe_gpu;
};

// For a model with routed experts. Weights: for shapes and types only; what is computed are zeros. The memory
// is given back. Nothing where there is no GPU, and where it fails; a warning in the log then says why.
std::optional<GpuTuning> tune_quickly(const ModelSpec& spec, const Weights& weights, cpu::ThreadTeam& team,
                                      const QuickTuneOptions& options = {});

}  // namespace greenroom::runtime
