#pragma once

// The tuner: measures what decides the speed of a model on this machine (runtime/machine_measurements.h). A
// few seconds, and the time to read twice what every token needs.
//
// Takes memory of its own (up to a GiB, less where little is available) and, for the decodes, loads the model
// as a session would. Nothing else should run meanwhile.

#include "quant/base/log.h"
#include "runtime/engine.h"
#include "runtime/gpu_probe.h"
#include "runtime/machine_measurements.h"
#include "runtime/tuning.h"

#include <functional>
#include <optional>
#include <string>

namespace greenroom::runtime {

struct TuneOptions {
    ProgressFn progress;  // may be empty
    // The way to the GPU. Tests put their own here.
    std::function<std::optional<GpuMeasurements>(const GpuProbeOptions&)> probe_gpu = runtime::probe_gpu;
};

// The engine has been opened, without weights. Error: those of Engine::load() and SsdReader, {device} when
// the GPU fails.
MachineMeasurements measure_machine(const Engine& engine, const TuneOptions& options = {});

TunedModel tuned_model(const ModelSpec& spec) noexcept;

}  // namespace greenroom::runtime
