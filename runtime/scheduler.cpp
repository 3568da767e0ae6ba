#include "runtime/scheduler.h"

#include <algorithm>
#include <utility>

namespace greenroom::runtime {

std::int64_t ExpertScheduler::working_bytes(const ModelSpec& spec, std::int64_t batch_tokens) noexcept {
    const ModelExtent extent = extent_of(spec);
    const std::int64_t n_calls = batch_tokens * extent.max_top_k;
    return n_calls * (spec.d_model + extent.max_expert_d_ff) * static_cast<std::int64_t>(sizeof(float));
}

ExpertScheduler::ExpertScheduler(const ModelSpec& spec, const Weights& weights, cpu::Ops& ops,
                                 std::int64_t batch_tokens)
    : spec_(spec), weights_(weights), ops_(ops) {
    const ModelExtent extent = extent_of(spec);
    const std::int64_t n_calls = batch_tokens * extent.max_top_k;
    results_ = cpu::Buffer(n_calls * spec.d_model);
    hidden_ = cpu::Buffer(n_calls * extent.max_expert_d_ff);
    calls_.resize(static_cast<std::size_t>(n_calls));
    ends_.resize(static_cast<std::size_t>(extent.max_experts));
    tasks_.reserve(static_cast<std::size_t>(extent.max_experts));
}

void ExpertScheduler::run(int layer, MatrixView out, ConstMatrixView x, std::span<const std::int32_t> experts,
                          std::span<const float> factors) {
    const auto& moe = std::get<MoeFfnSpec>(spec_.layers[static_cast<std::size_t>(layer)].ffn);
    const auto& weights = std::get<MoeFfnWeights>(weights_.layers[static_cast<std::size_t>(layer)].ffn);
    group_calls(weights, moe.router.n_experts, experts);

    const auto n_calls = static_cast<std::int64_t>(experts.size());
    const MatrixView results{results_.data(), n_calls, spec_.d_model, spec_.d_model};
    const MatrixView hidden{hidden_.data(), n_calls, moe.d_ff, moe.d_ff};
    // A weight multiplies either the expert's input or its output.
    const std::span<const float> none;
    cpu::run_experts(ops_.team(), ops_.scratch(), ops_.activations(), results, hidden, x, moe.router.top_k,
                     moe.glu, moe.weighs_input ? factors : none, tasks_);
    cpu::add_weighted(ops_.team(), out, results, moe.weighs_input ? none : factors, moe.router.top_k);
}

// Counting sort of the calls by expert, and a task for each expert that has any.
void ExpertScheduler::group_calls(const MoeFfnWeights& weights, int n_experts,
                                  std::span<const std::int32_t> experts) {
    std::fill_n(ends_.begin(), n_experts, 0);
    for (const std::int32_t expert : experts) ++ends_[static_cast<std::size_t>(expert)];
    std::int32_t start = 0;
    for (int e = 0; e < n_experts; ++e) start += std::exchange(ends_[static_cast<std::size_t>(e)], start);
    for (std::size_t call = 0; call < experts.size(); ++call)
        calls_[static_cast<std::size_t>(ends_[static_cast<std::size_t>(experts[call])]++)] =
            static_cast<std::int32_t>(call);

    tasks_.clear();
    std::int32_t first = 0;
    for (int e = 0; e < n_experts; ++e) {
        const std::int32_t last = ends_[static_cast<std::size_t>(e)];
        if (last > first) {
            const auto n_calls = static_cast<std::size_t>(last - first);
            const ExpertWeights& expert = weights.experts[static_cast<std::size_t>(e)];
            cpu::ExpertTask task{expert.gate, expert.up, expert.down,
                                 std::span(calls_).subspan(static_cast<std::size_t>(first), n_calls)};
            if (!weights.gate_bias.empty()) {
                task.gate_bias = weights.gate_bias.data() + e * expert.gate.shape[1];
                task.up_bias = weights.up_bias.data() + e * expert.up.shape[1];
                task.down_bias = weights.down_bias.data() + e * expert.down.shape[1];
            }
            tasks_.push_back(task);
        }
        first = last;
    }
}

}  // namespace greenroom::runtime
