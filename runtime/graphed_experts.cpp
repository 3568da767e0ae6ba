#include "runtime/graphed_experts.h"

#include "gpu/kernels/calls.h"
#include "runtime/ram_tier.h"
#include "runtime/scheduler.h"

#include <algorithm>
#include <cstddef>
#include <variant>

namespace greenroom::runtime {
namespace {

std::vector<int> moe_layers(const ModelSpec& spec, LayerRange layers) {
    std::vector<int> found;
    for (int i = layers.first; i < std::min(layers.end, spec.n_layers()); ++i)
        if (std::holds_alternative<MoeFfnSpec>(spec.layers[static_cast<std::size_t>(i)].ffn))
            found.push_back(i);
    return found;
}

}  // namespace

GraphedExperts::GraphedExperts(const ModelSpec& spec, LayerRange layers, gpu::Ops& ops, VramTier* tier,
                               HybridExperts& experts)
    : spec_(spec),
      ops_(ops),
      tier_(tier),
      experts_(experts),
      layers_(moe_layers(spec, layers)),
      hand_over_({.n_turns = static_cast<int>(layers_.size()),
                  .n_calls = static_cast<int>(extent_of(spec).max_top_k),
                  .n_cols = spec.d_model,
                  .n_guesses = ExpertOptions::kMaxPrefetchLayers}) {}

const MoeFfnSpec& GraphedExperts::moe(int turn) const {
    const int layer = layers_[static_cast<std::size_t>(turn)];
    return std::get<MoeFfnSpec>(spec_.layers[static_cast<std::size_t>(layer)].ffn);
}

void GraphedExperts::begin(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
                           std::span<const float> factors) {
    turn_ = tier_->ordinal(layer) - tier_->ordinal(layers_.front());
    experts_.split(layer, x, experts, factors, hand_over_.calls(turn_));
}

void GraphedExperts::expect(const RouterGuess& guess) {
    const HandOver::Guess told = hand_over_.guess(turn_, guess.distance - 1);
    gpu::tell_missed(ops_.stream(), told.missed, told.ready, guess.experts,
                     tier_->slots(tier_->ordinal(guess.layer)), ops_.step());
}

bool GraphedExperts::finish(MatrixView out, const std::atomic<bool>* /*cancelled*/) {
    experts_.add_hits(out);
    gpu::wait_and_add(ops_.stream(), out, hand_over_.sum(turn_), hand_over_.answer_flag(turn_),
                      experts_.n_misses(), ops_.step());
    return true;
}

void GraphedExperts::begin_step() {
    if (!layers_.empty()) experts_.begin_batch(tier_->ordinal(layers_.front()), 1);
}

bool GraphedExperts::serve(std::int64_t first_position, int n_guesses, const std::atomic<bool>* cancelled) {
    hand_over_.begin(ops_.stream(), ops_.step_number());
    int turn = 0;
    try {
        for (; turn < static_cast<int>(layers_.size()); ++turn)
            if (!take_turn(turn, first_position, n_guesses, cancelled)) {
                hand_over_.give_up(turn);
                return false;
            }
    } catch (...) {
        hand_over_.give_up(turn);
        throw;
    }
    if (!layers_.empty()) tier_->record_use(ops_.stream());
    return true;
}

bool GraphedExperts::take_turn(int turn, std::int64_t first_position, int n_guesses,
                               const std::atomic<bool>* cancelled) {
    if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) return false;
    if (!hand_over_.wait_for_calls(turn, cancelled)) return false;
    const gpu::HostCalls calls = hand_over_.calls(turn);
    const auto n_calls = static_cast<std::size_t>(moe(turn).router.top_k);
    const ConstMatrixView x{calls.x, 1, spec_.d_model, spec_.d_model};
    const std::int64_t n_missed =
        experts_.begin_misses(layers_[static_cast<std::size_t>(turn)], x, {calls.experts, n_calls},
                              {calls.weights, n_calls}, {calls.missed, n_calls});
    // Of each call the expert, its weight and whether it missed; where one has, x and the sum.
    const std::int64_t n_words =
        3 * static_cast<std::int64_t>(n_calls) + (n_missed > 0 ? 2 * x.n_cols : std::int64_t{0});
    tier_->count_calls(static_cast<std::int64_t>(n_calls) - n_missed, n_missed,
                       n_words * static_cast<std::int64_t>(sizeof(float)));
    take_guesses(turn, first_position, n_guesses);
    if (!experts_.finish_misses(hand_over_.sum(turn), cancelled)) return false;
    if (n_missed > 0) hand_over_.answer(turn);
    return true;
}

// Not cancelled meanwhile: the layer's misses have begun and have to be finished.
void GraphedExperts::take_guesses(int turn, std::int64_t first_position, int n_guesses) {
    const auto n_turns = static_cast<int>(layers_.size());
    for (int distance = 1; distance <= n_guesses && turn + distance < n_turns; ++distance) {
        const int later = turn + distance;
        hand_over_.wait_for_guess(turn, distance - 1);
        const RouterRule& rule = moe(later).router;
        experts_.misses().scheduler->expect(
            {.layer = layers_[static_cast<std::size_t>(later)],
             .distance = distance,
             .first_position = first_position,
             .rule = rule,
             .experts = {hand_over_.guess(turn, distance - 1).missed, static_cast<std::size_t>(rule.top_k)}});
    }
}

}  // namespace greenroom::runtime
