#include "runtime/split_evaluator.h"

#include <utility>

namespace greenroom::runtime {

static_assert(Experts<CpuLayerExperts>);

SplitEvaluator::SplitEvaluator(const ModelSpec& spec, LayerRange gpu_layers, const Weights& host,
                               const Weights& device, const SessionPlan& plan, std::unique_ptr<gpu::Ops> ops,
                               std::unique_ptr<HybridExperts> experts, VramTier* tier)
    : n_vocab_(spec.n_vocab),
      ops_(std::move(ops)),
      experts_(std::move(experts)),
      cpu_experts_(*experts_, tier),
      cpu_forward_(spec, {0, gpu_layers.first}, host, *experts_->misses().ops, cpu_experts_,
                   plan.batch_tokens),
      cpu_memory_(spec, {0, gpu_layers.first}, plan.kv_types, plan.layout, plan.n_checkpoints,
                  *experts_->misses().ops),
      gpu_forward_(spec, gpu_layers, device, *ops_, *experts_, plan.batch_tokens),
      gpu_memory_(spec, gpu_layers, plan.kv_types, plan.layout, plan.n_checkpoints, *ops_),
      logits_(ops_->allocate(kLogitsRows * spec.n_vocab)) {}

bool SplitEvaluator::run(std::span<const std::int32_t> tokens, ForwardObserver* observer,
                         const std::atomic<bool>* cancelled) {
    if (!cpu_forward_.run(tokens, {}, cpu_memory_, observer, cancelled)) return false;
    if (!gpu_forward_.run(tokens, cpu_forward_.hidden(), gpu_memory_, observer, cancelled)) return false;
    const auto n = static_cast<std::int64_t>(tokens.size());
    cpu_memory_.commit(n);
    gpu_memory_.commit(n);
    return true;
}

ConstMatrixView SplitEvaluator::logits(std::int64_t first_row, std::int64_t n_rows) {
    const MatrixView rows{logits_.data(), n_rows, n_vocab_, n_vocab_};
    gpu_forward_.head(rows, first_row);
    return ops_->read_back(rows);
}

bool SplitEvaluator::keeps_checkpoints() const noexcept {
    return cpu_memory_.keeps_checkpoints() || gpu_memory_.keeps_checkpoints();
}

void SplitEvaluator::save_checkpoint() {
    cpu_memory_.save_checkpoint();
    gpu_memory_.save_checkpoint();
}

// One side may have to go back further than the other: the other follows it.
std::int64_t SplitEvaluator::rewind(std::int64_t n_keep) {
    for (std::int64_t n = n_keep;;) {
        const std::int64_t n_on_cpu = cpu_memory_.rewind(n);
        n = gpu_memory_.rewind(n_on_cpu);
        if (n == n_on_cpu) return n;
    }
}

}  // namespace greenroom::runtime
