#include "runtime/ram_tier.h"

#include "quant/base/error.h"
#include "runtime/tensor_files.h"

#include <algorithm>

namespace greenroom::runtime {

ExpertLayouts::ExpertLayouts(const quant::Gguf& gguf, const ModelSpec& spec, const Weights& weights,
                             std::int64_t alignment) {
    for (int i = 0; i < spec.n_layers(); ++i) {
        const auto* moe = std::get_if<MoeFfnSpec>(&spec.layers[static_cast<std::size_t>(i)].ffn);
        ordinals_.push_back(moe != nullptr ? n_layers() : -1);
        if (moe == nullptr) continue;
        layers_.push_back(i);
        n_experts_ = std::max(n_experts_, moe->router.n_experts);
        top_k_ = std::max(top_k_, moe->router.top_k);
        n_all_ += moe->router.n_experts;
    }
    const TensorFiles files(gguf);
    for (const int i : layers_) {
        const auto& moe = std::get<MoeFfnWeights>(weights.layers[static_cast<std::size_t>(i)].ffn);
        std::int64_t slot_bytes = 0;
        for (const ExpertWeights& expert : moe.experts) {
            const std::array<cache::ByteRange, 3> ranges{
                files.range_of(expert.gate), files.range_of(expert.up), files.range_of(expert.down)};
            slot_bytes = std::max(slot_bytes, slots_.emplace_back(ranges, alignment).slot_bytes());
        }
        slots_.resize(slots_.size() + static_cast<std::size_t>(n_experts_) - moe.experts.size());
        layer_slot_bytes_.push_back(slot_bytes);
    }
}

cache::SlotPlanOptions ExpertLayouts::plan_options(cache::Scope scope, std::int64_t budget_bytes) const {
    // What the next layers' guesses and the reads under way take, or what a disk delivers while a layer's
    // attention is computed, whichever is more.
    constexpr std::int64_t kSpareBytes = 96 << 20;
    const std::int64_t slot_bytes = *std::max_element(layer_slot_bytes_.begin(), layer_slot_bytes_.end());
    return {.scope = scope,
            .n_experts = n_experts_,
            .top_k = top_k_,
            .n_spare = std::max<std::int64_t>(4 * top_k_, kSpareBytes / slot_bytes),
            .budget_bytes = budget_bytes};
}

RamTier::RamTier(const ExpertLayouts& layouts, const Weights& weights, cache::SsdReader& reader,
                 const ExpertOptions& options, std::int64_t budget_bytes)
    : layouts_(layouts),
      weights_(weights),
      options_(options),
      plan_(layouts.layer_slot_bytes(), layouts.plan_options(options.scope, budget_bytes)) {
    GR_CHECK(options.prefetch_layers >= 0 && options.prefetch_layers <= ExpertOptions::kMaxPrefetchLayers);
    policy_ = cache::make_policy(options.policy,
                                 {.n_layers = layouts.n_layers(),
                                  .n_experts = layouts.n_experts(),
                                  .top_k = layouts.top_k(),
                                  .n_slots = plan_.n_kept()},
                                 options.scope);
    arena_ = std::make_unique<cache::Arena>(plan_.total_bytes());
    cache_ = std::make_unique<cache::ExpertCache>(*policy_, reader, arena_->data(), plan_, layouts.slots());
    // More than a token calls, since most guesses are wrong; what there was no time for is cancelled.
    wanted_.resize(2 * static_cast<std::size_t>(layouts.top_k()));
}

ExpertWeights RamTier::weights(cache::ExpertId id) const {
    const auto layer = static_cast<std::size_t>(layouts_.layer(id.layer));
    ExpertWeights expert =
        std::get<MoeFfnWeights>(weights_.layers[layer].ffn).experts[static_cast<std::size_t>(id.index)];
    expert.gate.data = cache_->part(id, 0);
    expert.up.data = cache_->part(id, 1);
    expert.down.data = cache_->part(id, 2);
    return expert;
}

void RamTier::fill() {
    // Enough to keep the reader busy until the next call, and little for a demand or a prefetch to wait for.
    constexpr std::int64_t kAtOnce = 16;
    const std::int64_t n_experts = layouts_.n_experts();
    const std::int64_t n_all = layouts_.n_layers() * n_experts;
    while (next_to_fill_ < n_all && cache_->n_ahead() < kAtOnce) {
        const cache::ExpertId id{static_cast<std::int32_t>(next_to_fill_ / n_experts),
                                 static_cast<std::int32_t>(next_to_fill_ % n_experts)};
        if (!policy_->has_room(id.layer)) {
            next_to_fill_ = policy_->scope() == cache::Scope::global ? n_all : (id.layer + 1) * n_experts;
            continue;
        }
        if (cache_->is_absent(id) && !cache_->fill(id)) return;
        ++next_to_fill_;
    }
}

void RamTier::read_ahead(int ordinal) {
    for (std::int32_t i = 0; i < layouts_.n_experts(); ++i) {
        const cache::ExpertId id{ordinal, i};
        if (cache_->is_absent(id) && !cache_->prefetch(id)) return;
    }
}

void RamTier::read_ahead_of_next_token() {
    if (options_.prefetch_layers == 0) return;
    // As many as have paid so far: all of them where one in four was called, one at least.
    const cache::CacheCounters& so_far = cache_->counters(0);
    const auto most = static_cast<std::int64_t>(wanted_.size());
    const std::int64_t n_paid =
        so_far.n_prefetched == 0 ? most : 4 * most * so_far.n_useful / so_far.n_prefetched;
    const auto n_asked = static_cast<std::size_t>(std::clamp<std::int64_t>(n_paid, 1, most));
    const std::size_t n = policy_->most_wanted(0, std::span(wanted_).first(n_asked));
    for (const std::int32_t i : std::span(wanted_).first(n)) {
        const cache::ExpertId id{0, i};
        if (cache_->is_absent(id) && !cache_->prefetch(id)) return;
    }
}

}  // namespace greenroom::runtime
