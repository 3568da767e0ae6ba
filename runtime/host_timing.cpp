#include "runtime/host_timing.h"

#include "cpu/ops.h"
#include "cpu/read_bandwidth.h"
#include "cpu/row_run.h"
#include "runtime/memory_plan.h"

#include <random>
#include <variant>

namespace greenroom::runtime {

double time_expert(cpu::ThreadTeam& team, const ModelSpec& spec, const TimedExperts& experts, int n_tokens,
                   const TimingOptions& options) {
    const auto& moe = std::get<MoeFfnSpec>(spec.layers[static_cast<std::size_t>(experts.layer)].ffn);
    const int top_k = std::min(moe.router.top_k, static_cast<int>(experts.n));
    const std::int64_t n_calls = std::int64_t{n_tokens} * top_k;
    const cpu::Scratch scratch(team.size(),
                               std::max(cpu::tile_floats(spec.d_model), cpu::tile_floats(moe.d_ff)));
    const cpu::ActivationBuffer activations(
        cpu::expert_activation_blocks(n_tokens, spec.d_model, top_k, moe.d_ff),
        product_planes(Activations::int8));
    const cpu::Buffer x(std::int64_t{n_tokens} * spec.d_model);
    const cpu::Buffer hidden(n_calls * moe.d_ff);
    const cpu::Buffer results(n_calls * spec.d_model);
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < x.size(); ++i) x.data()[i] = normal(random);

    std::vector<std::vector<std::int32_t>> calls(static_cast<std::size_t>(top_k));
    for (int k = 0; k < top_k; ++k)
        for (int t = 0; t < n_tokens; ++t) calls[static_cast<std::size_t>(k)].push_back(t * top_k + k);
    std::vector<cpu::ExpertTask> tasks(calls.size());
    std::size_t next = 0;
    const auto run_once = [&] {
        for (std::size_t k = 0; k < tasks.size(); ++k) tasks[k] = experts.task(next++ % experts.n, calls[k]);
        cpu::run_experts(team, scratch, activations, {results.data(), n_calls, spec.d_model, spec.d_model},
                         {hidden.data(), n_calls, moe.d_ff, moe.d_ff},
                         {x.data(), n_tokens, spec.d_model, spec.d_model}, top_k, moe.glu, {}, tasks);
    };
    return median_seconds(run_once, options) / top_k;
}

std::int64_t read_until(cpu::ThreadTeam& team, std::span<const std::byte> memory,
                        const std::function<bool()>& done) {
    const std::span<const std::byte> part =
        memory.first(std::min<std::size_t>(memory.size(), std::size_t{64} << 20));
    std::int64_t bytes = 0;
    while (!done()) {
        cpu::read_bytes(team, part);
        bytes += std::ssize(part);
    }
    return bytes;
}

}  // namespace greenroom::runtime
