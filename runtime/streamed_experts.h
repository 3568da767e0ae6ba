#pragma once

// StreamedExperts: the routed experts of a batch whose layers are streamed through VRAM: all are computed by
// the GPU, chunk by chunk, and nothing is asked of the host for a layer. What a router has chosen it is told
// later, while the next layer is computed: for the policies and the counters.
//
// Part of HybridExperts, whose device memory it uses; the tier and the streamer are shared by all sessions.

#include "gpu/kernels/calls.h"
#include "gpu/ops.h"
#include "gpu/stream.h"
#include "quant/base/matrix_view.h"
#include "runtime/layer_streamer.h"
#include "runtime/model_spec.h"
#include "runtime/vram_tier.h"
#include "runtime/weights.h"

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::runtime {

class StreamedExperts {
  public:
    // Device memory for the calls of a batch.
    struct Space {
        gpu::HitGroups hits;
        std::span<float> results;  // a row of d_model per call
        std::span<float> hidden;   // a row of d_ff per call
    };

    // above: batches with more tokens per expert are streamed. All must outlive it.
    StreamedExperts(const ModelSpec& spec, const Weights& weights, gpu::Ops& ops, RamTier& ram,
                    VramTier& tier, LayerStreamer& streamer, double above, const Space& space,
                    std::int64_t batch_tokens);

    // Whether a batch of this size is streamed.
    bool takes(std::int64_t n_tokens) const noexcept;

    // Before each batch, also those that it does not take.
    void end_batch() { streamer_.end_batch(); }
    // After the tier has begun the batch, before its first MoE layer.
    void begin_batch(int ordinal, std::int64_t n_tokens);

    // A layer's turn, as HybridExperts::finish(): out += what its experts make of x.
    bool run(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
             std::span<const float> factors, MatrixView out, const std::atomic<bool>* cancelled);

  private:
    // What the host is told of a layer's calls.
    struct Told {
        gpu::HostArray<std::int32_t> experts, missed;
        gpu::HostArray<float> weights;
        gpu::HostArray<std::uint32_t> ready;
        gpu::Event done;
        std::size_t n_calls = 0;  // 0: nobody waits for it
        int ordinal = 0;
        int top_k = 0;
    };

    void take_in(Told& told);
    void tell_ram(int ordinal, std::span<const std::int32_t> experts, std::span<const float> weights,
                  std::size_t top_k);

    const ModelSpec& spec_;
    const Weights& weights_;
    gpu::Ops& ops_;
    RamTier& ram_;
    VramTier& tier_;
    LayerStreamer& streamer_;
    double above_;
    Space space_;
    std::array<Told, 2> told_;  // by ordinal
    std::int64_t first_step_ = 0;
    bool tells_ram_ = false;  // its policy has something to decide
    std::vector<std::int32_t> token_experts_;
    std::vector<float> token_weights_;
};

}  // namespace greenroom::runtime
