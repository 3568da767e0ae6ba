#pragma once

// What `tune` measures of a machine with a model: figures only. runtime/tuner.h takes them, runtime/tuning.h
// decides from them, runtime/profile.h keeps them. Bandwidths in bytes per second.

#include <cstdint>
#include <optional>
#include <vector>

namespace greenroom::runtime {

// With a number of threads.
struct ThreadMeasurement {
    int n_threads = 0;
    double dram_read = 0;  // of memory larger than the caches, in pages of 2 MiB
    double expert_s = 0;   // an expert's network for one token, its weights coming from memory; 0: no experts

    friend bool operator==(const ThreadMeasurement&, const ThreadMeasurement&) = default;
};

// One expert's network for some tokens.
struct ExpertMeasurement {
    int n_tokens = 0;
    double seconds = 0;

    friend bool operator==(const ExpertMeasurement&, const ExpertMeasurement&) = default;
};

// Tokens one by one, with the real model. What they need is in memory as far as it fits.
struct DecodeMeasurement {
    int n_threads = 0;
    double tokens_per_s = 0;

    friend bool operator==(const DecodeMeasurement&, const DecodeMeasurement&) = default;
};

struct GpuMeasurements {
    double pinned_upload = 0;  // from pinned memory, an expert at a time
    double pageable_upload = 0;
    double staged_upload = 0;         // from other memory through pinned pieces (runtime/staged_copies.h)
    double shared_upload = 0;         // from pinned memory while the CPU reads DRAM with all its threads,
    double shared_dram_read = 0;      // and what the CPU gets meanwhile
    double shared_staged_upload = 0;  // the same of what is staged
    double shared_staged_dram_read = 0;
    double vram_copy = 0;    // read and written, both counted
    double hand_over_s = 0;  // kernel, flag, host, flag, kernel: what a layer with misses waits at least

    friend bool operator==(const GpuMeasurements&, const GpuMeasurements&) = default;
};

struct MachineMeasurements {
    std::int64_t expert_bytes = 0;           // the largest expert; 0: the model has none
    double ssd_read = 0;                     // whole experts in random order; 0: not measured
    std::vector<ThreadMeasurement> threads;  // by rising number
    std::vector<ExpertMeasurement> experts;  // by rising number of tokens, with one thread per core
    std::vector<DecodeMeasurement> decodes;
    std::optional<GpuMeasurements> gpu;

    friend bool operator==(const MachineMeasurements&, const MachineMeasurements&) = default;
};

}  // namespace greenroom::runtime
