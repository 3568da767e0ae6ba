#pragma once

// The flags that say whether a GPU is used, and what of it.

#include "runtime/engine.h"
#include "tools/memory_size.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace greenroom::tools {

struct GpuFlags {
    MemorySize vram;                            // not given: what is free, less a reserve
    std::optional<std::int64_t> n_gpu_layers;   // not given: all, where there is a GPU
    std::optional<std::int64_t> n_cpu_experts;  // layers, from the first on, whose experts get no VRAM
    bool is_cpu_moe = false;                    // all of them
    std::string device;                         // "", "none" or "CUDA0"
    std::optional<double> stream_above;         // tokens per expert; not given: as tuned or measured
};

// --vram SIZE, -ngl N, -ncmoe N, -dev NAME, --stream-above N
void add_gpu_options(CLI::App& app, GpuFlags& flags);

// -cmoe, which takes no value
void add_cpu_moe_flag(CLI::App& app, GpuFlags& flags);

// For a model of so many layers. Bad usage where flags contradict each other, or ask for some of the layers.
runtime::GpuOptions gpu_options(const GpuFlags& flags, int n_layers);

// A line: which device computes, how much of it, or why it is the CPU. Empty where nobody had a choice: by
// the flags, or in a program built without CUDA.
std::string device_text(const runtime::Engine& engine);

}  // namespace greenroom::tools
