#pragma once

// SplitEvaluator: the evaluator of a model of which the GPU runs the last layers and the output, and the CPU
// the layers before. A batch goes through the CPU's layers first; what they leave of its tokens is handed
// over to the GPU, once per batch, and there it goes on as in a model that is all the GPU's: a token by
// itself as a CUDA graph, launched when the CPU's layers are done. Why not before: the graph would occupy the
// GPU with waiting for as long as they take, to save a launch. Each side remembers its own layers' part of
// the sequence, and both always as many tokens.

#include "cpu/ops.h"
#include "gpu/ops.h"
#include "runtime/evaluator.h"
#include "runtime/forward.h"
#include "runtime/graphed_evaluator.h"
#include "runtime/hybrid_experts.h"
#include "runtime/layer_range.h"
#include "runtime/scheduler.h"
#include "runtime/sequence_memory.h"
#include "runtime/vram_tier.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace greenroom::runtime {

// The experts of the CPU's layers: those of RAM, run by the scheduler that has the GPU's misses later in the
// batch. What is guessed of the GPU's layers is read only where it is not in VRAM.
class CpuLayerExperts {
  public:
    // n_calls: of a batch in a layer, at most. tier may be null for a model without MoE layers.
    CpuLayerExperts(ExpertScheduler& scheduler, VramTier* tier, std::int64_t n_calls)
        : scheduler_(scheduler), tier_(tier), guessed_(static_cast<std::size_t>(n_calls)) {}

    void begin(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
               std::span<const float> factors) {
        tier_->count_calls(0, static_cast<std::int64_t>(experts.size()), 0);
        scheduler_.begin(layer, x, experts, factors);
    }
    int n_guesses(std::int64_t n_tokens) const noexcept { return scheduler_.n_guesses(n_tokens); }
    void expect(const RouterGuess& guess);
    bool finish(MatrixView out, const std::atomic<bool>* cancelled) {
        return scheduler_.finish(out, cancelled);
    }

  private:
    ExpertScheduler& scheduler_;
    VramTier* tier_;
    std::vector<std::int32_t> guessed_;
};

class SplitEvaluator final : public Evaluator {
  public:
    // gpu_layers: from a layer after 0 up to the output. host and device: the weights where the CPU and the
    // GPU work. experts uses ops. spec, weights and tier (may be null for a model without MoE layers) must
    // outlive it.
    SplitEvaluator(const ModelSpec& spec, LayerRange gpu_layers, const Weights& host, const Weights& device,
                   const SessionPlan& plan, std::unique_ptr<gpu::Ops> ops,
                   std::unique_ptr<HybridExperts> experts, VramTier* tier);

    bool run(std::span<const std::int32_t> tokens, ForwardObserver* observer,
             const std::atomic<bool>* cancelled) override;
    ConstMatrixView logits(std::int64_t first_row, std::int64_t n_rows) override {
        return gpu_.logits(first_row, n_rows);
    }
    std::int64_t n_tokens() const noexcept override { return gpu_.n_tokens(); }
    bool keeps_checkpoints() const noexcept override;
    void save_checkpoint() override;
    std::int64_t rewind(std::int64_t n_keep) override;

  private:
    GraphedEvaluator gpu_;
    CpuLayerExperts cpu_experts_;
    Forward<cpu::Ops, CpuLayerExperts> cpu_forward_;
    SequenceMemory<cpu::Ops> cpu_memory_;
};

}  // namespace greenroom::runtime
