#pragma once

// GraphedEvaluator: a session's evaluator on the GPU, of all layers or of those that the GPU runs after the
// CPU's (SplitEvaluator). A token by itself, which is what decoding is, goes through as a CUDA graph; batches
// of more, and those that an observer looks at, operation by operation. Both ways use one SequenceMemory and
// give the same results to the bit.
//
// The first token by itself goes operation by operation too, so that a capture finds every kernel loaded;
// and, with a warning, all of them where CUDA refuses to capture.

#include "runtime/decode_graph.h"
#include "runtime/evaluator.h"
#include "runtime/hybrid_experts.h"
#include "runtime/layer_range.h"

#include <cstdint>
#include <memory>
#include <span>

namespace greenroom::runtime {

class GraphedEvaluator final : public Evaluator {
  public:
    // As ForwardEvaluator. weights: on the GPU. tier: that of the experts.
    GraphedEvaluator(const ModelSpec& spec, LayerRange layers, const Weights& weights,
                     const SessionPlan& plan, VramTier* tier, std::unique_ptr<gpu::Ops> ops,
                     std::unique_ptr<HybridExperts> experts);

    bool run(std::span<const std::int32_t> tokens, ForwardObserver* observer,
             const std::atomic<bool>* cancelled) override {
        return run(tokens, {}, observer, cancelled);
    }
    // Where the layers do not begin with 0: after those before. See Forward::run().
    bool run(std::span<const std::int32_t> tokens, ConstMatrixView before, ForwardObserver* observer,
             const std::atomic<bool>* cancelled);
    ConstMatrixView logits(std::int64_t first_row, std::int64_t n_rows) override;

    std::int64_t n_tokens() const noexcept override { return by_operations_.n_tokens(); }
    bool keeps_checkpoints() const noexcept override { return by_operations_.keeps_checkpoints(); }
    void save_checkpoint() override { by_operations_.save_checkpoint(); }
    std::int64_t rewind(std::int64_t n_keep) override { return by_operations_.rewind(n_keep); }

    HybridExperts& experts() noexcept { return by_operations_.experts(); }

  private:
    bool can_be_graphed();

    ForwardEvaluator<gpu::Ops, HybridExperts> by_operations_;
    DecodeGraph graph_;
    enum class Graphs { not_yet, on, off } graphs_;
    bool last_was_graph_ = false;
};

}  // namespace greenroom::runtime
