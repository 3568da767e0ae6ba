#include "runtime/hybrid_experts.h"

#include "quant/base/error.h"
#include "runtime/streamed_experts.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <variant>

namespace greenroom::runtime {
namespace {

constexpr auto kWord = static_cast<std::int64_t>(sizeof(std::int32_t));

// Most calls of a layer, and most experts that they can be of.
struct CallExtent {
    std::int64_t n_calls = 0;
    std::int64_t n_groups = 0;

    CallExtent(const ModelSpec& spec, std::int64_t batch_tokens) noexcept {
        const ModelExtent extent = extent_of(spec);
        n_calls = batch_tokens * extent.max_top_k;
        n_groups = std::min(extent.max_experts, n_calls);
    }

    // The pointers first, then words: two counts, experts, first calls, calls.
    std::int64_t bytes() const noexcept {
        return n_groups * static_cast<std::int64_t>(sizeof(std::byte*)) +
               (2 + n_groups + n_groups + 1 + n_calls) * kWord;
    }

    gpu::HitGroups groups(std::byte* memory) const noexcept {
        gpu::HitGroups hits;
        hits.slots = reinterpret_cast<const std::byte**>(memory);
        hits.n_groups = reinterpret_cast<std::int32_t*>(hits.slots + n_groups);
        hits.n_misses = hits.n_groups + 1;
        hits.experts = hits.n_misses + 1;
        hits.first = hits.experts + n_groups;
        hits.calls = hits.first + n_groups + 1;
        return hits;
    }
};

const MoeFfnSpec& moe_of(const ModelSpec& spec, int layer) {
    return std::get<MoeFfnSpec>(spec.layers[static_cast<std::size_t>(layer)].ffn);
}

const float* data_or_null(FloatArray array) noexcept { return array.empty() ? nullptr : array.data(); }

}  // namespace

gpu::ExpertLayer expert_layer(const ModelSpec& spec, const Weights& weights, int layer) {
    const MoeFfnSpec& moe = moe_of(spec, layer);
    const auto& w = std::get<MoeFfnWeights>(weights.layers[static_cast<std::size_t>(layer)].ffn);
    const VramSlotLayout slot(w.experts.front());
    return {.n_experts = moe.router.n_experts,
            .top_k = moe.router.top_k,
            .d_model = spec.d_model,
            .d_ff = moe.d_ff,
            .glu = moe.glu,
            .gate = {slot.types[0], slot.offsets[0]},
            .up = {slot.types[1], slot.offsets[1]},
            .down = {slot.types[2], slot.offsets[2]},
            .gate_bias = data_or_null(w.gate_bias),
            .up_bias = data_or_null(w.up_bias),
            .down_bias = data_or_null(w.down_bias)};
}

std::int64_t HybridExperts::device_bytes(const ModelSpec& spec, std::int64_t batch_tokens) noexcept {
    const CallExtent extent(spec, batch_tokens);
    return extent.bytes() + extent.n_calls * (spec.d_model + extent_of(spec).max_expert_d_ff) * kWord;
}

std::int64_t HybridExperts::scratch_bytes(const ModelSpec& spec, LayerRange layers, const Weights& weights,
                                          Activations activations, std::int64_t batch_tokens) {
    std::int64_t most = 0;
    for (int i = layers.first; i < std::min(layers.end, spec.n_layers()); ++i)
        if (std::holds_alternative<MoeFfnSpec>(spec.layers[static_cast<std::size_t>(i)].ffn))
            most = std::max(
                most, gpu::expert_scratch_bytes(expert_layer(spec, weights, i), activations, batch_tokens));
    return most;
}

HybridExperts::HybridExperts(const ModelSpec& spec, LayerRange layers, const Weights& weights,
                             gpu::DeviceBudget& budget, gpu::Ops& ops, VramTier* tier, Misses misses,
                             std::int64_t batch_tokens)
    : spec_(spec), layers_(layers), weights_(weights), ops_(ops), tier_(tier), misses_(std::move(misses)) {
    const CallExtent extent(spec, batch_tokens);
    hits_memory_ = gpu::DeviceBuffer(budget, extent.bytes(), "the calls of experts in VRAM");
    hits_ = extent.groups(hits_memory_.data());
    results_ = ops.allocate(extent.n_calls * spec.d_model);
    hidden_ = ops.allocate(extent.n_calls * extent_of(spec).max_expert_d_ff);
    told_experts_ = ops.allocate_host<std::int32_t>(extent.n_calls);
    told_missed_ = ops.allocate_host<std::int32_t>(extent.n_calls);
    told_weights_ = ops.allocate_host<float>(extent.n_calls);
    told_guess_ = ops.allocate_host<std::int32_t>(extent.n_calls);
    told_ready_ = ops.allocate_host<std::uint32_t>(1);
    x_ = ops.allocate_host<float>(batch_tokens * spec.d_model);
    sum_ = ops.allocate_host<float>(batch_tokens * spec.d_model);
}

HybridExperts::~HybridExperts() = default;

void HybridExperts::stream_through(LayerStreamer& streamer, RamTier& ram, double above,
                                   std::int64_t batch_tokens) {
    const auto floats = [](const gpu::Ops::Buffer& buffer) {
        return std::span(buffer.data(), static_cast<std::size_t>(buffer.size()));
    };
    streamed_ = std::make_unique<StreamedExperts>(
        spec_, weights_, ops_, ram, *tier_, streamer, above,
        StreamedExperts::Space{hits_, floats(results_), floats(hidden_)}, batch_tokens);
}

int HybridExperts::n_guesses(std::int64_t n_tokens) const noexcept {
    return streamed_ != nullptr && streamed_->takes(n_tokens) ? 0 : misses_.scheduler->n_guesses(n_tokens);
}

// Before its first MoE layer.
void HybridExperts::begin_batch(int ordinal, std::int64_t n_tokens) {
    is_streamed_ = streamed_ != nullptr && streamed_->takes(n_tokens);
    if (streamed_ != nullptr) streamed_->end_batch();
    tier_->begin_batch(ops_.stream(), n_tokens,
                       is_streamed_ ? VramTier::Way::streamed : VramTier::Way::split);
    if (is_streamed_) streamed_->begin_batch(ordinal, n_tokens);
}

void HybridExperts::begin(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
                          std::span<const float> factors) {
    const int ordinal = tier_->ordinal(layer);
    if (tier_->is_first(ordinal, layers_)) begin_batch(ordinal, x.n_rows);
    if (is_streamed_) {
        take_layer(layer, x, experts, factors);
        return;
    }
    split(layer, x, experts, factors,
          {.experts = told_experts_.data(),
           .weights = told_weights_.data(),
           .missed = told_missed_.data(),
           .ready = told_ready_.data()});
    gpu::copy_to_host(ops_.stream(), x_.data(), x.data, x.n_rows * x.n_cols * kWord);
    ops_.wait();

    const auto n_calls = std::ssize(experts);
    const std::int64_t n_missed =
        begin_misses(layer, {x_.data(), x.n_rows, x.n_cols, x.n_cols}, {told_experts_.data(), experts.size()},
                     {told_weights_.data(), experts.size()}, {told_missed_.data(), experts.size()});
    // Of each call the expert, its weight and whether it missed; x; the sum of the misses.
    const std::int64_t n_words = 3 * n_calls + (has_misses_ ? 2 : 1) * x.n_rows * x.n_cols;
    tier_->count_calls(n_calls - n_missed, n_missed, n_words * kWord);
}

void HybridExperts::take_layer(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
                               std::span<const float> factors) {
    layer_ = layer;
    x_on_device_ = x;
    experts_ = experts;
    factors_ = factors;
}

void HybridExperts::split(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
                          std::span<const float> factors, const gpu::HostCalls& told) {
    take_layer(layer, x, experts, factors);
    gpu::split_calls(ops_.stream(), hits_, told, experts, factors, tier_->slots(tier_->ordinal(layer)),
                     ops_.step(), x);
}

std::int64_t HybridExperts::begin_misses(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
                                         std::span<const float> factors,
                                         std::span<const std::int32_t> missed) {
    tier_->on_calls(tier_->ordinal(layer), experts, factors, moe_of(spec_, layer).router.top_k);
    misses_.scheduler->begin(layer, x, missed, factors);
    const auto n_hits = std::ranges::count(missed, ExpertScheduler::kNotHere);
    has_hits_ = n_hits > 0;
    has_misses_ = n_hits < std::ssize(missed);
    return std::ssize(missed) - n_hits;
}

void HybridExperts::expect(const RouterGuess& guess) {
    gpu::tell_missed(ops_.stream(), told_guess_.data(), told_ready_.data(), guess.experts,
                     tier_->slots(tier_->ordinal(guess.layer)), ops_.step());
    ops_.wait();
    misses_.scheduler->expect({guess.layer,
                               guess.distance,
                               guess.first_position,
                               guess.rule,
                               {told_guess_.data(), guess.experts.size()}});
}

bool HybridExperts::finish(MatrixView out, const std::atomic<bool>* cancelled) {
    if (is_streamed_) return streamed_->run(layer_, x_on_device_, experts_, factors_, out, cancelled);
    if (has_hits_) {
        add_hits(out);
        tier_->record_use(ops_.stream());
    }
    const MatrixView sum{sum_.data(), out.n_rows, out.n_cols, out.n_cols};
    if (!finish_misses(sum, cancelled)) return false;
    if (has_misses_) ops_.add(out, sum);
    return true;
}

bool HybridExperts::finish_misses(MatrixView sum, const std::atomic<bool>* cancelled) {
    if (has_misses_) std::fill_n(sum.data, sum.n_rows * sum.n_cols, 0.0F);
    return misses_.scheduler->finish(sum, cancelled);
}

void HybridExperts::add_hits(MatrixView out) {
    const MoeFfnSpec& moe = moe_of(spec_, layer_);
    const auto n_calls = static_cast<std::int64_t>(experts_.size());
    const MatrixView results{results_.data(), n_calls, spec_.d_model, spec_.d_model};
    const MatrixView hidden{hidden_.data(), n_calls, moe.d_ff, moe.d_ff};
    // A weight multiplies either the expert's input or its output.
    const std::span<const float> none;
    gpu::run_experts(ops_.stream(), results, hidden, x_on_device_, expert_layer(spec_, weights_, layer_),
                     hits_, moe.weighs_input ? factors_ : none, ops_.activations(), ops_.scratch());
    gpu::add_weighted(ops_.stream(), out, results, moe.weighs_input ? none : factors_, experts_,
                      tier_->slots(tier_->ordinal(layer_)), moe.router.top_k);
}

}  // namespace greenroom::runtime
