#include "runtime/split_evaluator.h"

#include <algorithm>
#include <utility>

namespace greenroom::runtime {

static_assert(Experts<CpuLayerExperts>);

void CpuLayerExperts::expect(const RouterGuess& guess) {
    const int ordinal = tier_->ordinal(guess.layer);
    const std::span<std::int32_t> misses = std::span(guessed_).first(guess.experts.size());
    std::ranges::transform(guess.experts, misses.begin(), [&](std::int32_t expert) {
        return tier_->is_resident({ordinal, expert}) ? ExpertScheduler::kNotHere : expert;
    });
    scheduler_.expect({guess.layer, guess.distance, guess.first_position, guess.rule, misses});
}

SplitEvaluator::SplitEvaluator(const ModelSpec& spec, LayerRange gpu_layers, const Weights& host,
                               const Weights& device, const SessionPlan& plan, std::unique_ptr<gpu::Ops> ops,
                               std::unique_ptr<HybridExperts> experts, VramTier* tier)
    : gpu_(spec, gpu_layers, device, plan, tier, std::move(ops), std::move(experts)),
      cpu_experts_(*gpu_.experts().misses().scheduler, tier, plan.batch_tokens * extent_of(spec).max_top_k),
      cpu_forward_(spec, {0, gpu_layers.first}, host, *gpu_.experts().misses().ops, cpu_experts_,
                   plan.batch_tokens),
      cpu_memory_(spec, {0, gpu_layers.first}, plan.kv_types, plan.layout, plan.n_checkpoints,
                  *gpu_.experts().misses().ops) {}

bool SplitEvaluator::run(std::span<const std::int32_t> tokens, ForwardObserver* observer,
                         const std::atomic<bool>* cancelled) {
    if (!cpu_forward_.run(tokens, {}, cpu_memory_, observer, cancelled)) return false;
    if (!gpu_.run(tokens, cpu_forward_.hidden(), observer, cancelled)) return false;
    cpu_memory_.commit(static_cast<std::int64_t>(tokens.size()));
    return true;
}

bool SplitEvaluator::keeps_checkpoints() const noexcept {
    return cpu_memory_.keeps_checkpoints() || gpu_.keeps_checkpoints();
}

void SplitEvaluator::save_checkpoint() {
    cpu_memory_.save_checkpoint();
    gpu_.save_checkpoint();
}

// One side may have to go back further than the other: the other follows it.
std::int64_t SplitEvaluator::rewind(std::int64_t n_keep) {
    for (std::int64_t n = n_keep;;) {
        const std::int64_t n_on_cpu = cpu_memory_.rewind(n);
        n = gpu_.rewind(n_on_cpu);
        if (n == n_on_cpu) return n;
    }
}

}  // namespace greenroom::runtime
