#pragma once

// GraphedExperts: the routed experts of a step that the GPU goes through without the host: a batch of one
// token, captured as a CUDA graph. What HybridExperts does in turns with the GPU is done here by both at
// once, each with its own half of the work:
//
//     the GPU's, Experts for gpu::Ops. Enqueues only, so that it can be captured: the calls are split and
//     handed over, the hits computed, the CPU's sum waited for and added.
//     the CPU's, serve(). Goes through the GPU's MoE layers once the graph is launched, takes each one's
//     calls and guesses as they come, has the misses read and computed, and answers.
//
// The memory of hits and misses is that of the session's HybridExperts, since a session takes one step at a
// time. One per session, on the thread that evaluates. Reserves everything in the constructor.

#include "gpu/ops.h"
#include "quant/base/matrix_view.h"
#include "runtime/hand_over.h"
#include "runtime/hybrid_experts.h"
#include "runtime/layer_range.h"
#include "runtime/model_spec.h"
#include "runtime/observer.h"
#include "runtime/vram_tier.h"

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::runtime {

class GraphedExperts {
  public:
    // layers: those that the GPU runs. tier may be null for a model without MoE layers. All must outlive it.
    GraphedExperts(const ModelSpec& spec, LayerRange layers, gpu::Ops& ops, VramTier* tier,
                   HybridExperts& experts);

    // ---- The GPU's half. x has one row.
    void begin(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
               std::span<const float> factors);
    int n_guesses(std::int64_t n_tokens) const noexcept { return experts_.n_guesses(n_tokens); }
    void expect(const RouterGuess& guess);
    bool finish(MatrixView out, const std::atomic<bool>* cancelled);

    // ---- The CPU's half.

    // Before the stream is given a step.
    void begin_step();

    // Of the step that the Ops have begun last and that the stream has been given since.
    // first_position, n_guesses: the token's, and as they were when the step was captured. False when
    // *cancelled (may be null) was found set. Then, and when it throws what ExpertScheduler does or
    // Error{device}, the stream has ended and what it has computed is of no use.
    bool serve(std::int64_t first_position, int n_guesses, const std::atomic<bool>* cancelled);

  private:
    const MoeFfnSpec& moe(int turn) const;
    bool take_turn(int turn, std::int64_t first_position, int n_guesses, const std::atomic<bool>* cancelled);
    void take_guesses(int turn, std::int64_t first_position, int n_guesses);

    const ModelSpec& spec_;
    gpu::Ops& ops_;
    VramTier* tier_;
    HybridExperts& experts_;
    std::vector<int> layers_;  // the MoE layers among ours: a turn each
    HandOver hand_over_;

    int turn_ = 0;  // of the layer that is being enqueued
};

}  // namespace greenroom::runtime
