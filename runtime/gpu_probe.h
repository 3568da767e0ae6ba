#pragma once

// What `tune` measures of a GPU. One implementation over gpu/, and one for builds without CUDA.

#include "runtime/machine_measurements.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace greenroom::runtime {

struct GpuProbeOptions {
    // Of the link: what it uploads from pinned memory and through pinned pieces, alone and while the CPU
    // reads. Some ten milliseconds.
    enum class What { everything, the_link };

    What what = What::everything;
    std::int64_t expert_bytes = 1 << 20;                // uploads go in pieces of this size, at least 64 KiB
    std::int64_t copy_bytes = std::int64_t{256} << 20;  // of each copy that is timed; less if there is less
                                                        // memory of the GPU, or less that can be pinned
    int n_hand_overs = 200;
    // Reads memory of the host with all threads, again and again, until `done` says so; returns how many
    // bytes. Called while uploads are under way: once from pinned memory, once through pinned pieces.
    std::function<std::int64_t(const std::function<bool()>& done)> read_host;
};

// Empty where there is no GPU that can be used. Takes a second or less; holds VRAM and pinned memory of some
// copy_bytes meanwhile. What is staged is not measured where the pieces cannot be pinned. Error{device} when
// the GPU fails, {out_of_memory}.
std::optional<GpuMeasurements> probe_gpu(const GpuProbeOptions& options);

// The GPUs that this build could use, as the driver's files under `folder` name them, without waking the
// driver: "NVIDIA GeForce RTX 4090"; several joined by " + ". Empty where there are none, where the system
// has no such files (WSL), and in a build without CUDA.
std::string installed_gpus(const std::string& folder = "/proc/driver/nvidia/gpus");

}  // namespace greenroom::runtime
