#pragma once

// GpuLane: the GPU's part of an engine: in its memory the weights that every token needs, slots for routed
// experts, and what the sessions remember; and the evaluators that work there.
//
// Threads: as the engine.

#include "runtime/evaluator.h"
#include "runtime/model_spec.h"
#include "runtime/ram_tier.h"
#include "runtime/session_options.h"
#include "runtime/tuning.h"
#include "runtime/vram_counters.h"
#include "runtime/weights.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace greenroom::cpu {
class ThreadTeam;
}

namespace greenroom::runtime {

struct GpuOptions {
    enum class Use {
        off,
        if_possible,  // where GpuLane::check() has nothing against it; else the CPU does everything
        on,
    };

    Use use = Use::off;
    std::int64_t vram_bytes = 0;  // what may be used of the GPU's memory; 0: what is free, less a reserve
    std::int64_t max_expert_bytes = 0;  // of it for experts' slots at most; 0: what is left
    int n_cpu_expert_layers = 0;        // the experts of so many layers, from the first on, get no slots

    std::int64_t max_staging_bytes = 0;  // of it to stream layers through at most; 0: what is of use

    // What CPU and GPU each do of the experts. Not given: the engine measures it, for a second at most, where
    // `measures` says so; else kUnmeasured.
    std::optional<GpuTuning> tuning;
    bool measures = false;
    // Batches with more tokens per expert are streamed (runtime/layer_streamer.h). Not given: as tuned.
    std::optional<double> stream_above;
    static constexpr double kNeverStream = kNoCrossover;
};

// What an engine has.
struct GpuModel {
    const std::string& path;  // for messages
    const ModelSpec& spec;
    const Weights& weights;
    RamTier* experts;  // nullptr for a model without routed experts
    cpu::ThreadTeam& threads;
};

// For reports; to be used under the engine's evaluation_mutex().
struct GpuUsage {
    std::string device_name;
    std::int64_t total_bytes = 0;  // what may be used
    std::int64_t used_bytes = 0;   // of it, by what follows and by sessions
    std::int64_t resident_bytes = 0;
    std::int64_t expert_bytes = 0;   // slots
    std::int64_t n_slots = 0;        // experts that have room
    std::int64_t n_on_stage = 0;     // experts that are there
    std::int64_t staging_bytes = 0;  // for layers that are streamed; 0: none are
    double upload_share = 0;         // of misses
    double stream_above = 0;         // tokens per expert
    enum class Tuned { as_given, at_start, never };
    Tuned tuned = Tuned::never;  // where the two come from, unless the second is GpuOptions::stream_above
    VramCounters experts;
};

class GpuLane {
  public:
    // Whether this program could use a GPU at all.
    static bool is_built() noexcept;

    // Error{device}, {unsupported} or {out_of_memory} where open() would throw it before it copies anything:
    // looks at the GPU and at sizes only. model.experts is not looked at.
    static void check(const GpuModel& model, const GpuOptions& options, const SessionPlan& session,
                      int n_sessions);

    // Copies the weights to the GPU and reserves the slots; memory is kept free for n_sessions sessions of
    // this plan. What the model refers to must outlive it. What check() throws, and Error{device}
    // or {out_of_memory} when a call fails.
    static std::unique_ptr<GpuLane> open(const GpuModel& model, const GpuOptions& options,
                                         const SessionPlan& session, int n_sessions);

    GpuLane() = default;
    virtual ~GpuLane() = default;
    GpuLane(const GpuLane&) = delete;
    GpuLane& operator=(const GpuLane&) = delete;

    // Error{out_of_memory}.
    virtual std::unique_ptr<Evaluator> make_evaluator(const SessionPlan& plan) = 0;

    virtual GpuUsage usage() const = 0;
};

}  // namespace greenroom::runtime
