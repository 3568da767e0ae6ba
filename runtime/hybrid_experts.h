#pragma once

// HybridExperts: the routed experts of a layer, computed where they are: those with a slot in VRAM by the
// GPU, the others by the CPU meanwhile. Satisfies the concept Experts for gpu::Ops.
//
//     begin()     the router's choice is split into hits and misses, on the GPU; the host waits to be told of
//                 them and of x, and has the misses that are not in RAM read
//     finish()    the hits are enqueued; the CPU computes the misses; their sum is enqueued to be added
//
// For batches that go operation by operation; GraphedExperts has the GPU go on by itself. Batches of so many
// tokens that it is faster to bring all experts to the GPU are left to StreamedExperts.
//
// One per session, on the thread that evaluates. Reserves everything in the constructor.

#include "cpu/ops.h"
#include "gpu/kernels/calls.h"
#include "gpu/kernels/expert_ffn.h"
#include "gpu/memory.h"
#include "gpu/ops.h"
#include "quant/base/matrix_view.h"
#include "runtime/layer_range.h"
#include "runtime/model_spec.h"
#include "runtime/observer.h"
#include "runtime/scheduler.h"
#include "runtime/vram_tier.h"
#include "runtime/weights.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

namespace greenroom::runtime {

class LayerStreamer;
class StreamedExperts;

// What the kernels have to know of a layer. weights: where they work, or anywhere for their scratch.
gpu::ExpertLayer expert_layer(const ModelSpec& spec, const Weights& weights, int layer);

class HybridExperts {
  public:
    // Those computed by the CPU.
    struct Misses {
        std::unique_ptr<cpu::Ops> ops;
        std::unique_ptr<ExpertScheduler> scheduler;
    };

    // layers: those that the GPU runs. weights: where ops works. tier may be null for a model without MoE
    // layers. All but misses must outlive it.
    HybridExperts(const ModelSpec& spec, LayerRange layers, const Weights& weights, gpu::DeviceBudget& budget,
                  gpu::Ops& ops, VramTier* tier, Misses misses, std::int64_t batch_tokens);
    ~HybridExperts();

    // From here on batches with more than `above` tokens per expert are streamed. Both must outlive it.
    void stream_through(LayerStreamer& streamer, RamTier& ram, double above, std::int64_t batch_tokens);

    void begin(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
               std::span<const float> factors);
    int n_guesses(std::int64_t n_tokens) const noexcept;
    void expect(const RouterGuess& guess);
    bool finish(MatrixView out, const std::atomic<bool>* cancelled);

    // To be used while no layer is in hand.
    const Misses& misses() const noexcept { return misses_; }

    // ---- The parts of a layer's turn, for whoever puts them in another order (GraphedExperts).

    // Before the batch's first MoE layer, of which begin() does it by itself.
    void begin_batch(int ordinal, std::int64_t n_tokens);

    // Of the GPU, only enqueued: the calls are split, of which the host is told; the hits are added to out.
    void split(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
               std::span<const float> factors, const gpu::HostCalls& told);
    void add_hits(MatrixView out);
    const std::int32_t* n_misses() const noexcept { return hits_.n_misses; }  // of the last split()

    // Of the CPU, where the arguments are the host's to read: the calls are told to the tier and the misses
    // begun, whose number is returned; their sum, if there are any, is written.
    std::int64_t begin_misses(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
                              std::span<const float> factors, std::span<const std::int32_t> missed);
    bool finish_misses(MatrixView sum, const std::atomic<bool>* cancelled);

    // What the constructor takes of the GPU's memory, and what the Ops' scratch has to have.
    static std::int64_t device_bytes(const ModelSpec& spec, std::int64_t batch_tokens) noexcept;
    static std::int64_t scratch_bytes(const ModelSpec& spec, LayerRange layers, const Weights& weights,
                                      Activations activations, std::int64_t batch_tokens);

  private:
    void take_layer(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
                    std::span<const float> factors);

    const ModelSpec& spec_;
    LayerRange layers_;
    const Weights& weights_;
    gpu::Ops& ops_;
    VramTier* tier_;
    Misses misses_;
    gpu::DeviceBuffer hits_memory_;
    gpu::HitGroups hits_;
    gpu::Ops::Buffer results_;                                 // a row of d_model per call
    gpu::Ops::Buffer hidden_;                                  // a row of d_ff per call
    gpu::HostArray<std::int32_t> told_experts_, told_missed_;  // of every call; see gpu::HostCalls
    gpu::HostArray<float> told_weights_;
    gpu::HostArray<std::int32_t> told_guess_;
    gpu::HostArray<std::uint32_t> told_ready_;
    gpu::HostArray<float> x_;                    // for the CPU
    gpu::HostArray<float> sum_;                  // of the misses
    std::unique_ptr<StreamedExperts> streamed_;  // nullptr: no batch is
    bool is_streamed_ = false;                   // the batch in hand

    // Of the layer in hand.
    int layer_ = 0;
    ConstMatrixView x_on_device_;
    std::span<const std::int32_t> experts_;
    std::span<const float> factors_;
    bool has_hits_ = false;
    bool has_misses_ = false;
};

}  // namespace greenroom::runtime
