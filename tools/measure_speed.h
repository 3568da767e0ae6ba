#pragma once

// measure_speed(): how many tokens a second a session reads and writes. What a test is and what counts as its
// time is as in llama.cpp's llama-bench, so that figures can be compared:
//
//     warmup       the prompt and one token, not timed
//     repetition   the timeline is cleared; n_depth tokens come first, not timed; then the clock runs while
//                  n_prompt tokens are evaluated in batches and n_gen one by one
//
// Tokens are drawn evenly from the vocabulary, also those that are "generated": nothing is sampled. They are
// the same for each call, and others in each repetition, so that experts do not stay only because a text came
// twice.

#include "cache/expert_cache.h"
#include "quant/base/log.h"
#include "runtime/engine.h"
#include "runtime/session.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace greenroom::tools {

struct SpeedTest {
    std::int64_t n_prompt = 0;  // tokens evaluated together,
    std::int64_t n_gen = 0;     // then one by one
    std::int64_t n_depth = 0;   // after so many that are there already

    std::int64_t n_timed() const noexcept { return n_prompt + n_gen; }
    std::int64_t n_tokens() const noexcept { return n_depth + n_timed(); }

    // "pp512", "tg128", "pp512+tg128", "tg128 @ d4096".
    std::string name() const;
};

enum class Warmup { yes, no };

struct SpeedOptions {
    int n_repetitions = 5;
    Warmup warmup = Warmup::yes;
    // Told before each repetition how many are done, and how far the depth is; never while the clock runs.
    ProgressFn progress;
    const std::atomic<bool>* cancelled = nullptr;  // may be null
    runtime::ForwardObserver* observer = nullptr;  // sees everything, warmup and depth included; slows it
};

struct SpeedResult {
    std::chrono::system_clock::time_point begin;
    std::vector<std::int64_t> samples_ns;  // of each repetition
    cache::CacheCounters experts;          // what happened while the clock ran, in all repetitions together
    runtime::VramCounters vram;            // the same, with a GPU
};

// The session holds test.n_tokens(), belongs to the engine, and may have tokens, which go. nullopt when it
// was cancelled. Error: those of Session::evaluate().
std::optional<SpeedResult> measure_speed(const runtime::Engine& engine, runtime::Session& session,
                                         const SpeedTest& test, const SpeedOptions& options);

// Reads experts until all slots are in use, as evaluating does in the background by and by: what is measured
// afterwards does not depend on how long the program has been running. Ends early, without an error, when it
// is cancelled or the disk fails; whoever needs what is missing will say so.
void fill_expert_slots(const runtime::Engine& engine, const ProgressFn& progress,
                       const std::atomic<bool>* cancelled);

}  // namespace greenroom::tools
