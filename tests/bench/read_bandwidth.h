#pragma once

// Memory larger than the caches, and how fast one thread reads it: what kernels bound by memory are measured
// against, in the same run.

#include "cpu/buffer.h"
#include "cpu/read_bandwidth.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstddef>
#include <ctime>
#include <random>
#include <span>

namespace greenroom::bench {

inline constexpr std::size_t kManyBytes = std::size_t{192} << 20;

// Bytes of which any two make a float16 between 0.07 and 1, in huge pages like weights and caches.
inline std::span<std::byte> many_bytes() {
    static const cpu::Buffer buffer = [] {
        cpu::Buffer all(kManyBytes / sizeof(float));
        std::mt19937 random(1);
        for (std::byte& b : std::as_writable_bytes(std::span(all.data(), kManyBytes / sizeof(float))))
            b = static_cast<std::byte>(0x2c + random() % 0x10);
        return all;
    }();
    return {reinterpret_cast<std::byte*>(buffer.data()), kManyBytes};
}

// In time of this thread, as the counters of the benchmarks are: other programs take none of it away.
inline double read_once(std::span<const std::byte> bytes) {
    const std::clock_t start = std::clock();
    benchmark::DoNotOptimize(cpu::read_bytes(bytes));
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    return static_cast<double>(bytes.size()) / seconds;
}

// Best of several passes over the same memory, in bytes per second.
inline double read_bandwidth() {
    static const double bandwidth = [] {
        double best = 0;
        for (int pass = 0; pass < 8; ++pass) best = std::max(best, read_once(many_bytes()));
        return best;
    }();
    return bandwidth;
}

}  // namespace greenroom::bench
