#pragma once

// DecodeGraph: the GPU's way from one token to its logits as a CUDA graph: through all layers, or through the
// last from what those before have left of it. Captured once and launched for each step; a launch takes the
// place of some dozen per layer, and the host need not keep up with the GPU.
//
// What changes from step to step the launches read from memory: token or what is left of it, position and
// number of the step (Forward::begin), the table of slots (VramTier::begin_batch). What they cannot read is
// part of the capture, and a graph is captured anew when it no longer fits:
//
//     which bank of the states a step writes    a graph for each
//     how many positions attention may see      launches are sized for the next power of two
//     how many later layers are guessed         0 once all experts are in RAM
//
// One per session, on the thread that evaluates. The activations of a token are reserved by the constructor;
// a capture allocates.

#include "gpu/ops.h"
#include "gpu/stream.h"
#include "quant/base/matrix_view.h"
#include "runtime/forward.h"
#include "runtime/graphed_experts.h"
#include "runtime/hybrid_experts.h"
#include "runtime/layer_range.h"
#include "runtime/model_spec.h"
#include "runtime/sequence_memory.h"
#include "runtime/vram_tier.h"
#include "runtime/weights.h"

#include <array>
#include <atomic>
#include <cstdint>

namespace greenroom::runtime {

class DecodeGraph {
  public:
    // layers: up to the output. weights: where ops works. tier may be null for a model without MoE layers.
    // context_tokens: what the ops' scratch memory is sized for. All must outlive it.
    DecodeGraph(const ModelSpec& spec, LayerRange layers, const Weights& weights, gpu::Ops& ops,
                VramTier* tier, HybridExperts& experts, std::int64_t context_tokens);

    // Captures the graph for the next token after those in memory, if it is not there. Nothing is evaluated.
    // Error{device} where CUDA refuses.
    void prepare(const SequenceMemory<gpu::Ops>& memory);

    // As Forward::run(), of one token for which the graph has been prepared; commits it.
    bool run(std::int32_t token, ConstMatrixView before, SequenceMemory<gpu::Ops>& memory,
             const std::atomic<bool>* cancelled);

    // [1, n_vocab] after the token of the last run(), for the host to read until the next. Waits.
    ConstMatrixView logits();

    // What the constructor takes of the GPU's memory.
    static std::int64_t device_bytes(const ModelSpec& spec) noexcept;

  private:
    struct Captured {
        gpu::Graph graph;
        std::int64_t max_positions = 0;
        int n_guesses = 0;
    };

    Captured capture(const SequenceMemory<gpu::Ops>& memory);

    gpu::Ops& ops_;
    std::int64_t n_vocab_;
    std::int64_t context_tokens_;
    GraphedExperts experts_;
    Forward<gpu::Ops, GraphedExperts> forward_;
    gpu::Ops::Buffer logits_on_device_;
    gpu::HostArray<float> logits_;
    std::array<Captured, 2> captured_;  // by SequenceMemory::bank()
};

}  // namespace greenroom::runtime
