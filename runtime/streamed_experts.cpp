#include "runtime/streamed_experts.h"

#include "gpu/kernels/expert_ffn.h"
#include "runtime/hybrid_experts.h"

#include <utility>
#include <variant>

namespace greenroom::runtime {

StreamedExperts::StreamedExperts(const ModelSpec& spec, const Weights& weights, gpu::Ops& ops, RamTier& ram,
                                 VramTier& tier, LayerStreamer& streamer, double above, const Space& space,
                                 std::int64_t batch_tokens)
    : spec_(spec),
      weights_(weights),
      ops_(ops),
      ram_(ram),
      tier_(tier),
      streamer_(streamer),
      above_(above),
      space_(space) {
    const std::int64_t max_top_k = extent_of(spec).max_top_k;
    for (Told& told : told_) {
        told.experts = ops.allocate_host<std::int32_t>(batch_tokens * max_top_k);
        told.missed = ops.allocate_host<std::int32_t>(batch_tokens * max_top_k);
        told.weights = ops.allocate_host<float>(batch_tokens * max_top_k);
        told.ready = ops.allocate_host<std::uint32_t>(1);
    }
    token_experts_.reserve(static_cast<std::size_t>(max_top_k));
    token_weights_.reserve(static_cast<std::size_t>(max_top_k));
}

bool StreamedExperts::takes(std::int64_t n_tokens) const noexcept {
    return n_tokens > 1 && tokens_per_expert(ram_.layouts(), n_tokens) > above_;
}

void StreamedExperts::begin_batch(int ordinal, std::int64_t n_tokens) {
    for (Told& told : told_) told.n_calls = 0;
    tells_ram_ = !ram_.is_complete();
    if (tells_ram_) first_step_ = ram_.take_steps(n_tokens);
    tier_.count_streamed_batch();
    streamer_.begin_batch(ordinal);
}

bool StreamedExperts::run(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
                          std::span<const float> factors, MatrixView out,
                          const std::atomic<bool>* cancelled) {
    const auto& moe = std::get<MoeFfnSpec>(spec_.layers[static_cast<std::size_t>(layer)].ffn);
    const int ordinal = tier_.ordinal(layer);
    const auto n_calls = static_cast<std::int64_t>(experts.size());
    const MatrixView results{space_.results.data(), n_calls, spec_.d_model, spec_.d_model};
    const MatrixView hidden{space_.hidden.data(), n_calls, moe.d_ff, moe.d_ff};
    const gpu::ExpertLayer shape = expert_layer(spec_, weights_, layer);
    // A weight multiplies either the expert's input or its output.
    const std::span<const float> none;
    Told& told = told_[static_cast<std::size_t>(ordinal % 2)];
    const gpu::HostCalls host{.experts = told.experts.data(),
                              .weights = told.weights.data(),
                              .missed = told.missed.data(),
                              .ready = told.ready.data()};
    take_in(told);  // where layers between are not ours
    for (;;) {
        const LayerStreamer::Next next = streamer_.next(ordinal, ops_.stream(), cancelled);
        if (next == LayerStreamer::Next::cancelled) return false;
        if (next == LayerStreamer::Next::done) break;
        gpu::split_calls(ops_.stream(), space_.hits, host, experts, factors, streamer_.slots(), ops_.step());
        ops_.stream().record(told.done);
        gpu::run_experts(ops_.stream(), results, hidden, x, shape, space_.hits,
                         moe.weighs_input ? factors : none, ops_.activations(), ops_.scratch());
    }
    gpu::add_weighted(ops_.stream(), out, results, moe.weighs_input ? none : factors, experts,
                      streamer_.all_slots(), moe.router.top_k);
    tier_.record_use(ops_.stream());
    told.n_calls = experts.size();
    told.ordinal = ordinal;
    told.top_k = moe.router.top_k;
    // Of the layer before: the GPU has come by long ago, or has at least this layer to go on with.
    take_in(told_[static_cast<std::size_t>((ordinal + 1) % 2)]);
    if (ordinal + 1 == ram_.layouts().n_layers()) take_in(told);
    return true;
}

// Waits until the host has been told.
void StreamedExperts::take_in(Told& told) {
    const std::size_t n_calls = std::exchange(told.n_calls, 0);
    if (n_calls == 0) return;
    told.done.wait();
    const std::span experts(told.experts.data(), n_calls);
    const std::span weights(told.weights.data(), n_calls);
    tier_.on_calls(told.ordinal, experts, weights, told.top_k);
    constexpr std::int64_t kWords = 3;  // of each call the expert, its weight and whether it missed
    const auto n = static_cast<std::int64_t>(n_calls);
    tier_.count_calls(n, 0, n * kWords * static_cast<std::int64_t>(sizeof(std::int32_t)));
    if (tells_ram_) tell_ram(told.ordinal, experts, weights, static_cast<std::size_t>(told.top_k));
}

// What VRAM has no slot for, as the misses of a batch that is split.
void StreamedExperts::tell_ram(int ordinal, std::span<const std::int32_t> experts,
                               std::span<const float> weights, std::size_t top_k) {
    std::int64_t token = first_step_;
    for (std::size_t first = 0; first < experts.size(); first += top_k, ++token) {
        token_experts_.clear();
        token_weights_.clear();
        for (std::size_t i = first; i < first + top_k; ++i) {
            if (tier_.is_resident({ordinal, experts[i]})) continue;
            token_experts_.push_back(experts[i]);
            token_weights_.push_back(weights[i]);
        }
        if (token_experts_.empty()) continue;
        ram_.cache().on_request(
            {.layer = ordinal, .step = token, .experts = token_experts_, .weights = token_weights_});
    }
}

}  // namespace greenroom::runtime
