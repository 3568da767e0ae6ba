#pragma once

// GpuLane: the GPU's part of an engine: in its memory, of the layers that it runs, the weights that every
// token needs, slots for routed experts, and what the sessions remember; and the evaluators that work there.
// The layers before those are the CPU's.
//
// Threads: as the engine.

#include "cache/ssd_reader.h"
#include "quant/base/log.h"
#include "quant/gguf.h"
#include "runtime/evaluator.h"
#include "runtime/layer_range.h"
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
#include <vector>

namespace greenroom::cpu {
class ThreadTeam;
}

namespace greenroom::runtime {

struct GpuOptions {
    enum class Use {
        off,
        if_possible,  // where GpuLane::plan() has nothing against it; else the CPU does everything
        on,
    };

    Use use = Use::off;
    std::int64_t vram_bytes = 0;  // what may be used of the GPU's memory; 0: what is free, less a reserve
    std::int64_t max_expert_bytes = 0;  // of it for experts' slots at most; 0: what is left
    // Layers that the GPU runs, from the last on, the output counted (llama.cpp's -ngl), at least 1; more
    // than there are: all. Not given: as many as fit.
    std::optional<int> n_layers;
    std::vector<int> cpu_expert_layers;  // in rising order: layers whose experts get no slots

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
    const quant::Gguf& file;
    const ModelSpec& spec;
    const Weights& weights;    // those of the GPU's layers in the mapped file
    cache::SsdReader* reader;  // of the file; plan() does without
    RamTier* experts;          // nullptr for a model without routed experts
    cpu::ThreadTeam& threads;
};

// What of the model the GPU takes on, and what that costs.
struct GpuPlan {
    std::string device_name;
    std::int64_t budget_bytes = 0;    // of the GPU's memory, for everything
    std::int64_t resident_bytes = 0;  // of it, for what every token needs
    std::int64_t staging_bytes = 0;   // of RAM, while that is on its way; 0 without a reader
    std::int64_t ring_bytes = 0;      // of RAM, to copy experts through where RAM cannot be pinned
    LayerRange layers;                // up to the output; they begin with 0 where the CPU runs none
};

// For reports; to be used under the engine's evaluation_mutex().
struct GpuUsage {
    std::string device_name;
    LayerRange layers;             // that the GPU runs
    std::int64_t total_bytes = 0;  // what may be used
    std::int64_t used_bytes = 0;   // of it, by what follows and by sessions
    std::int64_t resident_bytes = 0;
    std::int64_t expert_bytes = 0;      // slots
    std::int64_t n_slots = 0;           // experts that have room
    std::int64_t n_on_stage = 0;        // experts that are there
    std::int64_t staging_bytes = 0;     // for layers that are streamed; 0: none are
    std::int64_t ram_slot_bytes = 0;    // slots in RAM,
    std::int64_t ram_pinned_bytes = 0;  // of these, what is pinned,
    std::int64_t ring_bytes = 0;  // and what the others are copied through; 0: they are not, or pageable
    double upload_share = 0;      // of misses
    double stream_above = 0;      // tokens per expert
    enum class Tuned { as_given, at_start, never };
    Tuned tuned = Tuned::never;  // where the two come from, unless the second is GpuOptions::stream_above
    VramCounters experts;
};

class GpuLane {
  public:
    // Whether this program could use a GPU at all.
    static bool is_built() noexcept;

    // Looks at the GPU and at sizes only. model.experts is not looked at. Error{device} or {unsupported}
    // where no GPU can be used; {out_of_memory} where what is asked for does not fit (says what would), or
    // not even one layer where nothing is asked for.
    static GpuPlan plan(const GpuModel& model, const GpuOptions& options, const SessionPlan& session,
                        int n_sessions);

    // Brings the weights to the GPU and reserves the slots; memory is kept free for n_sessions sessions of
    // this plan. What the model refers to must outlive it. Error{device} or {out_of_memory} when a call
    // fails, and those of the reader.
    static std::unique_ptr<GpuLane> open(const GpuModel& model, const GpuOptions& options,
                                         const GpuPlan& plan, const SessionPlan& session, int n_sessions,
                                         const ProgressFn& progress);

    GpuLane() = default;
    virtual ~GpuLane() = default;
    GpuLane(const GpuLane&) = delete;
    GpuLane& operator=(const GpuLane&) = delete;

    // Error{out_of_memory}.
    virtual std::unique_ptr<Evaluator> make_evaluator(const SessionPlan& plan) = 0;

    virtual GpuUsage usage() const = 0;
};

}  // namespace greenroom::runtime
