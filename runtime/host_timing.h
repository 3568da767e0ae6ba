#pragma once

// Timings of the host that the tuner takes at leisure and a start without a profile in a hurry: an expert's
// network, and reads of memory while the GPU's link is busy.

#include "cpu/expert_ffn.h"
#include "cpu/parallel.h"
#include "runtime/model_spec.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace greenroom::runtime {

struct TimingOptions {
    double seconds = 0.04;  // runs are repeated for so long,
    int least_runs = 3;     // and at least so often
};

// Median of the seconds that `run` takes, after once to warm up.
template <class Run>
double median_seconds(const Run& run, const TimingOptions& options = {}) {
    using Clock = std::chrono::steady_clock;
    const auto since = [](Clock::time_point begin) {
        return std::chrono::duration<double>(Clock::now() - begin).count();
    };
    run();
    std::vector<double> seconds;
    const auto begin = Clock::now();
    while (static_cast<int>(seconds.size()) < options.least_runs || since(begin) < options.seconds) {
        const auto one = Clock::now();
        run();
        seconds.push_back(since(one));
    }
    std::ranges::nth_element(seconds, seconds.begin() + std::ssize(seconds) / 2);
    return seconds[seconds.size() / 2];
}

// Experts that take turns, all as large as those of `layer`, at least one.
struct TimedExperts {
    int layer = 0;
    std::size_t n = 0;
    std::function<cpu::ExpertTask(std::size_t i, std::span<const std::int32_t> calls)> task;  // i < n
};

// Seconds that an expert takes for n_tokens, top_k experts at a time, as a layer calls them.
double time_expert(cpu::ThreadTeam& team, const ModelSpec& spec, const TimedExperts& experts, int n_tokens,
                   const TimingOptions& options = {});

// Reads memory with all threads of the team until `done`, which is asked every some ten milliseconds. Returns
// how many bytes.
std::int64_t read_until(cpu::ThreadTeam& team, std::span<const std::byte> memory,
                        const std::function<bool()>& done);

}  // namespace greenroom::runtime
