#pragma once

// The flags that say whether a GPU is used, and what of it.

#include "runtime/engine.h"
#include "runtime/tensor_overrides.h"
#include "tools/memory_size.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace greenroom::tools {

struct GpuFlags {
    MemorySize vram;                                 // not given: what is free, less a reserve
    std::optional<std::int64_t> n_gpu_layers;        // not given: as many as fit, where there is a GPU
    std::optional<std::int64_t> n_cpu_experts;       // layers, from the first on, whose experts get no VRAM
    bool is_cpu_moe = false;                         // all of them
    std::vector<runtime::TensorOverride> overrides;  // go before these two
    std::string device;                              // "", "none" or "CUDA0"
    std::optional<double> stream_above;              // tokens per expert; not given: as tuned or measured
};

// --vram SIZE, -ngl N, -ncmoe N, -dev NAME, --stream-above N
void add_gpu_options(CLI::App& app, GpuFlags& flags);

// -cmoe and -ot RULES: no value, and one that has commas of its own, so that neither is made for lists
void add_expert_place_flags(CLI::App& app, GpuFlags& flags);

// For the model that the engine has opened. Bad usage where flags contradict each other, or ask for what
// cannot be done with its tensors.
runtime::GpuOptions gpu_options(const GpuFlags& flags, const runtime::Engine& engine);

// "all 48 layers", or "24 of 48 layers and the output (-ngl 25)".
std::string layers_text(const runtime::GpuUsage& usage, int n_layers);

// A line: which device computes, how much of it, or why it is the CPU. Empty where nobody had a choice: by
// the flags, or in a program built without CUDA.
std::string device_text(const runtime::Engine& engine);

}  // namespace greenroom::tools
