#pragma once

// What became of the calls of routed experts in a run with a GPU, and what crossed the link to it for them.

#include <cstdint>

namespace greenroom::runtime {

// Counted from the beginning. Experts that a layer has called for a batch, by where they were computed; calls
// are (token, rank) pairs. Batches that are streamed (runtime/layer_streamer.h) have neither hits nor misses;
// their calls are the GPU's.
struct VramCounters {
    std::int64_t n_hits = 0;
    std::int64_t n_misses = 0;
    std::int64_t n_uploads = 0;   // experts copied to VRAM
    std::int64_t n_bytes_up = 0;  // of these
    std::int64_t n_batches_streamed = 0;
    std::int64_t n_bytes_streamed = 0;  // of experts, through VRAM
    // Of uploaded and streamed experts, counted when the copy begins: from RAM that is not pinned.
    std::int64_t n_bytes_staged = 0;
    std::int64_t n_bytes_pageable = 0;
    std::int64_t n_gpu_calls = 0;
    std::int64_t n_cpu_calls = 0;
    std::int64_t n_bytes_between = 0;  // activations, choices and sums, both ways, for experts

    // 0 where nothing was called.
    double hit_rate() const noexcept { return share(n_hits, n_misses); }
    double cpu_share() const noexcept { return share(n_cpu_calls, n_gpu_calls); }
    std::int64_t n_bytes_over_link() const noexcept {
        return n_bytes_up + n_bytes_streamed + n_bytes_between;
    }

    VramCounters& operator+=(const VramCounters& other) noexcept { return add(other, 1); }
    VramCounters& operator-=(const VramCounters& other) noexcept { return add(other, -1); }

  private:
    static double share(std::int64_t part, std::int64_t rest) noexcept {
        return part == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(part + rest);
    }

    VramCounters& add(const VramCounters& other, std::int64_t times) noexcept {
        n_hits += times * other.n_hits;
        n_misses += times * other.n_misses;
        n_uploads += times * other.n_uploads;
        n_bytes_up += times * other.n_bytes_up;
        n_batches_streamed += times * other.n_batches_streamed;
        n_bytes_streamed += times * other.n_bytes_streamed;
        n_bytes_staged += times * other.n_bytes_staged;
        n_bytes_pageable += times * other.n_bytes_pageable;
        n_gpu_calls += times * other.n_gpu_calls;
        n_cpu_calls += times * other.n_cpu_calls;
        n_bytes_between += times * other.n_bytes_between;
        return *this;
    }
};

}  // namespace greenroom::runtime
