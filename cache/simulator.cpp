#include "cache/simulator.h"

#include "cache/policies.h"
#include "quant/base/error.h"
#include "quant/half.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

namespace greenroom::cache {
namespace {

// Time counts (token, layer) pairs. The score is the negative time of the next call.
class Optimum : public Policy {
  public:
    Optimum(const Trace& trace, const CacheShape& shape, Scope scope)
        : Policy(shape, scope), top_k_(trace.top_k), next_call_(trace.experts.size()) {
        std::vector<std::int64_t> next(
            static_cast<std::size_t>(shape.n_layers) * static_cast<std::size_t>(shape.n_experts),
            std::numeric_limits<std::int64_t>::max());
        for (std::int64_t time = trace.n_tokens * trace.n_layers - 1; time >= 0; --time) {
            const auto layer = static_cast<std::int32_t>(time % trace.n_layers);
            for (int k = 0; k < trace.top_k; ++k) {
                const auto call = static_cast<std::size_t>(time * trace.top_k + k);
                if (trace.experts[call] == Trace::kAbsent) continue;
                std::int64_t& next_of = next[index_of({layer, trace.experts[call]})];
                next_call_[call] = next_of;
                next_of = time;
            }
        }
    }

  private:
    void update(const Request& request) override {
        const std::span<double> scores = scores_of(request.layer);
        auto call = static_cast<std::size_t>((request.step * shape().n_layers + request.layer) * top_k_);
        for (const std::int32_t i : request.experts)
            scores[static_cast<std::size_t>(i)] = -static_cast<double>(next_call_[call++]);
    }

    int top_k_;
    std::vector<std::int64_t> next_call_;  // of each call, the time when the same expert is called again
};

}  // namespace

CacheShape shape_for(const Trace& trace, double size) {
    GR_CHECK(size >= 0 && size <= 1);
    const double n_experts = static_cast<double>(trace.n_layers) * trace.n_experts;
    return {.n_layers = trace.n_layers,
            .n_experts = trace.n_experts,
            .top_k = trace.top_k,
            .n_slots = std::llround(size * n_experts)};
}

SimulationResult simulate(const Trace& trace, Policy& policy, CountForeseen foreseen) {
    GR_CHECK(policy.shape().n_layers == trace.n_layers && policy.shape().n_experts == trace.n_experts);
    SimulationResult result;
    const auto top_k = static_cast<std::size_t>(trace.top_k);
    const auto n_experts = static_cast<std::size_t>(trace.n_experts);
    std::vector<std::int32_t> experts(top_k);
    std::vector<std::int32_t> wanted(top_k);
    std::vector<float> scores(trace.scores.empty() ? 0 : n_experts);
    for (std::int64_t token = 0; token < trace.n_tokens; ++token) {
        for (int layer = 0; layer < trace.n_layers; ++layer) {
            const std::size_t row = trace.row(token, layer);
            if (trace.experts[row] == Trace::kAbsent) continue;
            std::copy_n(trace.experts.begin() + static_cast<std::ptrdiff_t>(row), top_k, experts.begin());
            const std::size_t score_row = row / top_k * n_experts;
            for (std::size_t i = 0; i < scores.size(); ++i)
                scores[i] = quant::f16_to_f32(trace.scores[score_row + i]);
            if (foreseen == CountForeseen::yes) {
                const auto n_wanted = static_cast<std::ptrdiff_t>(policy.most_wanted(layer, wanted));
                for (const std::int32_t i : experts)
                    result.n_foreseen += std::count(wanted.begin(), wanted.begin() + n_wanted, i);
            }
            policy.on_request({.layer = layer,
                               .step = token,
                               .experts = experts,
                               .weights = trace.weights.empty()
                                              ? std::span<const float>{}
                                              : std::span(trace.weights).subspan(row, top_k),
                               .scores = scores});
            for (const std::int32_t i : experts) policy.pin({layer, i});
            for (const std::int32_t i : experts) {
                ++result.n_calls;
                if (policy.is_resident({layer, i})) {
                    ++result.n_hits;
                    continue;
                }
                if (!policy.has_room(layer)) {
                    const std::optional<ExpertId> victim = policy.victim(layer);
                    if (!victim) continue;
                    policy.on_evict(*victim);
                }
                policy.on_load({layer, i});
                ++result.n_loads;
            }
            for (const std::int32_t i : experts) policy.unpin({layer, i});
        }
    }
    return result;
}

std::unique_ptr<Policy> make_optimum(const Trace& trace, const CacheShape& shape, Scope scope) {
    return std::make_unique<Optimum>(trace, shape, scope);
}

SimulationResult simulate(const Trace& trace, std::string_view policy, Scope scope, double size,
                          CountForeseen foreseen) {
    const CacheShape shape = shape_for(trace, size);
    const std::unique_ptr<Policy> replayed =
        policy == kOptimum ? make_optimum(trace, shape, scope) : make_policy(policy, shape, scope);
    return simulate(trace, *replayed, foreseen);
}

}  // namespace greenroom::cache
