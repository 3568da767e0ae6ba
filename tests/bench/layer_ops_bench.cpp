// Speed of a layer's operations that are neither products nor attention, one thread, kernels of the selected
// ISA (GREENROOM_ISA forces one).
//
//   route/SHAPE/N          the choice of experts for N tokens; items are tokens
//   causal_conv/SHAPE/N,   N tokens through a layer of Gated DeltaNet; items are multiplications. The states
//   delta_rule/SHAPE/N     of the layers come from memory, more of them than the processor's caches hold, and
//                          are written back; bytes_per_second counts the delta rule's state once
//   index/TYPE/C           the positions that one token of DeepSeek-V3.2 is to see of C; the layers' keys
//                          come from memory; items are multiplications
//
// Shapes are those of the models of that name.

#include "cpu/delta_net.h"
#include "cpu/indexer.h"
#include "cpu/isa.h"
#include "cpu/router.h"
#include "tests/bench/read_bandwidth.h"
#include "tests/bench/run_benchmarks.h"
#include "tests/support/random_data.h"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <vector>

namespace greenroom::cpu {
namespace {

using quant::Type;

void route(benchmark::State& state, const RouterRule& rule) {
    const std::int64_t n_tokens = state.range(0);
    ThreadTeam team(1);
    const Scratch scratch(1, 2 * std::int64_t{rule.n_experts});
    const auto logits = test::random_floats(n_tokens * rule.n_experts, 1);
    const auto bias = test::random_floats(rule.n_experts, 2, 0.01F);
    const bool biased = rule.scoring == RouterRule::Scoring::sigmoid;
    std::vector<std::int32_t> experts(static_cast<std::size_t>(n_tokens * rule.top_k));
    std::vector<float> weights(experts.size());
    for (auto _ : state) {
        cpu::route(team, scratch, experts, weights, {logits.data(), n_tokens, rule.n_experts, rule.n_experts},
                   biased ? std::span<const float>(bias) : std::span<const float>(), rule);
        benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * n_tokens);
}

// What a layer has of its own and finds in memory: pieces of kManyBytes, one after the other.
class OfLayers {
  public:
    explicit OfLayers(std::int64_t n_bytes) : n_bytes_(static_cast<std::size_t>(n_bytes)) {}

    std::byte* next(std::span<std::byte> of_all) {
        at_ += n_bytes_;
        if (at_ + n_bytes_ > of_all.size()) at_ = 0;
        return of_all.data() + at_;
    }

  private:
    std::size_t n_bytes_;
    std::size_t at_ = 0;
};

// States that are written, for which many_bytes() are not.
class LayerStates {
  public:
    explicit LayerStates(std::int64_t n_floats)
        : n_floats_(static_cast<std::size_t>(n_floats)), layers_(n_floats * std::int64_t{sizeof(float)}) {}

    std::span<float> next() {
        const std::span<float> all(all_.data(), bench::kManyBytes / sizeof(float));
        return {reinterpret_cast<float*>(layers_.next(std::as_writable_bytes(all))), n_floats_};
    }

  private:
    std::size_t n_floats_;
    OfLayers layers_;
    Buffer all_ = [] {
        Buffer all(bench::kManyBytes / sizeof(float));
        std::fill_n(all.data(), all.size(), 0.0F);
        return all;
    }();
};

void causal_conv(benchmark::State& state, const DeltaNetShape& shape) {
    const std::int64_t n_tokens = state.range(0);
    const std::int64_t channels = shape.channels();
    ThreadTeam team(1);
    const auto weight = test::random_floats(channels * shape.conv_width, 1);
    auto x = test::random_floats(n_tokens * channels, 2);
    LayerStates states(channels * (shape.conv_width - 1));
    for (auto _ : state) {
        const std::span<float> held = states.next();
        cpu::causal_conv(team, {x.data(), n_tokens, channels, channels}, weight, held, held);
        benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * n_tokens * channels * shape.conv_width);
}

void delta_rule(benchmark::State& state, const DeltaNetShape& shape) {
    const std::int64_t n_tokens = state.range(0);
    const std::int64_t gate_cols = 2 * std::int64_t{shape.n_value_heads};
    ThreadTeam team(1);
    const auto gates = test::random_floats(n_tokens * gate_cols, 1);
    const std::vector<float> a(static_cast<std::size_t>(shape.n_value_heads), -1.0F);
    const std::vector<float> dt_bias(a.size());
    auto qkv = test::random_floats(n_tokens * shape.channels(), 2);
    std::vector<float> out(static_cast<std::size_t>(n_tokens * shape.value_cols()));
    LayerStates states(shape.head_state_values());
    for (auto _ : state) {
        const std::span<float> held = states.next();
        cpu::delta_rule(team, {out.data(), n_tokens, shape.value_cols(), shape.value_cols()},
                        {qkv.data(), n_tokens, shape.channels(), shape.channels()},
                        {gates.data(), n_tokens, gate_cols, gate_cols}, a, dt_bias, 1e-6F, held, held, shape);
        benchmark::ClobberMemory();
    }
    // α·S·k, the correction, S·q.
    state.SetItemsProcessed(state.iterations() * n_tokens * 3 * shape.head_state_values());
    state.SetBytesProcessed(state.iterations() * shape.head_state_values() *
                            static_cast<std::int64_t>(sizeof(float)));
}

void index(benchmark::State& state, Type type) {
    constexpr std::int64_t kHeads = 64;
    constexpr std::int64_t kHeadDim = 128;
    constexpr std::int64_t kTopK = 2048;
    const std::int64_t context = state.range(0);
    ThreadTeam team(1);
    const Scratch scratch(1, indexer_scratch_floats(context, kHeadDim));
    const auto q = test::random_floats(kHeads * kHeadDim, 1);
    const auto weights = test::random_floats(kHeads, 2);
    std::vector<std::int32_t> visible(kTopK);
    const std::int64_t row_bytes = quant::row_bytes(type, kHeadDim);
    OfLayers layers(context * row_bytes);
    const std::span<std::byte> keys = bench::many_bytes();
    for (auto _ : state) {
        const KvRows rows{layers.next(keys), type, context, kHeadDim, row_bytes};
        index_positions(team, scratch, visible, {q.data(), 1, kHeads * kHeadDim, kHeads * kHeadDim},
                        {weights.data(), 1, kHeads, kHeads}, rows, context - 1, kTopK);
        benchmark::ClobberMemory();
    }
    state.SetItemsProcessed(state.iterations() * context * kHeads * kHeadDim);
    state.SetBytesProcessed(state.iterations() * context * row_bytes);
}

void register_all() {
    using Scoring = RouterRule::Scoring;
    const std::pair<const char*, RouterRule> routers[] = {
        {"qwen3-30b", {.n_experts = 128, .top_k = 8, .normalize = true}},
        {"gpt-oss-120b", {.n_experts = 128, .top_k = 4, .scoring = Scoring::softmax_of_chosen}},
        {"deepseek-v3",
         {.n_experts = 256,
          .top_k = 8,
          .scoring = Scoring::sigmoid,
          .n_groups = 8,
          .n_groups_used = 4,
          .group_score = RouterRule::GroupScore::best_two,
          .normalize = true,
          .scale = 2.5F}},
        {"kimi-k2",
         {.n_experts = 384, .top_k = 8, .scoring = Scoring::sigmoid, .normalize = true, .scale = 2.8F}},
        {"qwen3.5-397b", {.n_experts = 512, .top_k = 10, .normalize = true}}};
    for (const auto& [name, rule] : routers)
        benchmark::RegisterBenchmark(("route/" + std::string(name)).c_str(), route, rule)->Arg(1)->Arg(512);

    const auto delta_net = [](int n_value_heads) {
        DeltaNetShape shape;
        shape.n_key_heads = 16;
        shape.n_value_heads = n_value_heads;
        shape.key_dim = 128;
        shape.value_dim = 128;
        shape.conv_width = 4;
        return shape;
    };
    for (const auto& [name, shape] :
         {std::pair("/qwen3.5-35b", delta_net(32)), std::pair("/qwen3.5-397b", delta_net(64))}) {
        const std::string of_shape = name;
        benchmark::RegisterBenchmark(("causal_conv" + of_shape).c_str(), causal_conv, shape)
            ->Arg(1)
            ->Arg(128);
        benchmark::RegisterBenchmark(("delta_rule" + of_shape).c_str(), delta_rule, shape)->Arg(1)->Arg(128);
    }

    for (const Type type : {Type::F16, Type::Q8_0})
        benchmark::RegisterBenchmark(("index/" + std::string(quant::type_name(type))).c_str(), index, type)
            ->Arg(4096)
            ->Arg(16384);
}

}  // namespace
}  // namespace greenroom::cpu

int main(int argc, char** argv) {
    return greenroom::bench::run_benchmarks(argc, argv, greenroom::cpu::register_all);
}
