#include "cache/learned_policy.h"

#include "cache/reuse_model.h"

#include <algorithm>

namespace greenroom::cache {
namespace {

// Of the time that an uncalled expert stays. Half of it would be about as good.
constexpr double kHorizonOfStay = 0.4;
constexpr double kLeastHorizon = 3.3;
constexpr double kMostHorizon = 50.0;
constexpr double kMissesKept = 0.98;  // per token; the average misses of a token adapt within some 50

class LearnedPolicy : public Policy {
  public:
    LearnedPolicy(const CacheShape& shape, Scope scope)
        : Policy(shape, scope), model_(shape.n_layers, shape.n_experts, shape.top_k) {}

  private:
    void update(const Request& request) override {
        count_misses(request);
        model_.observe(request, horizon(), scores_of(request.layer));
    }

    void update(const Prediction& prediction) override {
        const std::span<double> scores = scores_of(prediction.layer);
        for (std::size_t k = 0; k < prediction.experts.size(); ++k) {
            const double probability =
                prediction.probabilities.empty() ? 1.0 : static_cast<double>(prediction.probabilities[k]);
            double& score = scores[static_cast<std::size_t>(prediction.experts[k])];
            // In this order so that NaN counts as 0.
            score += std::min(std::max(0.0, probability), 1.0) * std::max(0.0, 1 - score);
        }
    }

    // Both are sums over requests, so that their ratio is right from the first one on.
    void count_misses(const Request& request) {
        const double kept = 1 - (1 - kMissesKept) / shape().n_layers;
        const auto is_missing = [&](std::int32_t i) { return !is_resident({request.layer, i}); };
        misses_ = misses_ * kept + static_cast<double>(std::count_if(request.experts.begin(),
                                                                     request.experts.end(), is_missing));
        requests_ = requests_ * kept + 1;
    }

    double horizon() const {
        const double misses_per_token = misses_ / requests_ * shape().n_layers;
        const double stay = static_cast<double>(shape().n_slots) / std::max(misses_per_token, 1e-3);
        return std::clamp(kHorizonOfStay * stay, kLeastHorizon, kMostHorizon);
    }

    ReuseModel model_;
    double misses_ = 0;
    double requests_ = 0;
};

}  // namespace

std::unique_ptr<Policy> make_learned_policy(const CacheShape& shape, Scope scope) {
    return std::make_unique<LearnedPolicy>(shape, scope);
}

}  // namespace greenroom::cache
