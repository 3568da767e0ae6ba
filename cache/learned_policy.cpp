#include "cache/learned_policy.h"

#include "cache/reuse_model.h"
#include "cache/shadow_caches.h"

#include <algorithm>
#include <vector>

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
        : Policy(shape, scope),
          model_(shape.n_layers, shape.n_experts, shape.top_k),
          shadows_(shape),
          last_calls_(static_cast<std::size_t>(shape.n_layers) * static_cast<std::size_t>(shape.n_experts)),
          frequencies_(static_cast<std::size_t>(shape.n_experts)),
          estimates_(static_cast<std::size_t>(shape.n_experts)) {}

  private:
    void update(const Request& request) override {
        count_misses(request);
        model_.observe(request, horizon(), estimates_);
        const std::span<const float> frequencies = model_.decayed_frequencies(request.layer);
        std::copy(frequencies.begin(), frequencies.end(), frequencies_.begin());
        const std::span<double> last_calls = last_calls_of(request.layer);
        ++clock_;
        for (const std::int32_t e : request.experts) last_calls[static_cast<std::size_t>(e)] = clock_;
        shadows_.observe(request, {frequencies_, estimates_, last_calls});
        follow(shadows_.leader(), last_calls, scores_of(request.layer));
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

    std::span<double> last_calls_of(int layer) {
        const auto n = static_cast<std::size_t>(shape().n_experts);
        return std::span(last_calls_).subspan(static_cast<std::size_t>(layer) * n, n);
    }

    // All of them between 0 and 1 or so: after a change, a layer has the scores of before until its next
    // request, and the global scope compares them with those of others.
    void follow(Ranking ranking, std::span<const double> last_calls, std::span<double> scores) const {
        switch (ranking) {
            case Ranking::frequency:
                std::copy(frequencies_.begin(), frequencies_.end(), scores.begin());
                break;
            case Ranking::learned:
                std::copy(estimates_.begin(), estimates_.end(), scores.begin());
                break;
            case Ranking::recency:
                for (std::size_t i = 0; i < scores.size(); ++i)
                    scores[i] = 1 / (1 + (clock_ - last_calls[i]) / shape().n_layers);
                break;
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
    ShadowCaches shadows_;
    double clock_ = 0;                 // requests of all layers
    std::vector<double> last_calls_;   // [n_layers, n_experts], the clock at the last call; 0: none
    std::vector<double> frequencies_;  // [n_experts], of the request's layer; as the next one
    std::vector<double> estimates_;
    double misses_ = 0;
    double requests_ = 0;
};

}  // namespace

std::int64_t learned_policy_bytes(const CacheShape& shape) noexcept {
    const std::int64_t rows = shape.n_layers + 2;
    return ReuseModel::bytes(shape.n_layers, shape.n_experts, shape.top_k) + ShadowCaches::bytes(shape) +
           rows * shape.n_experts * std::int64_t{sizeof(double)};
}

std::unique_ptr<Policy> make_learned_policy(const CacheShape& shape, Scope scope) {
    return std::make_unique<LearnedPolicy>(shape, scope);
}

}  // namespace greenroom::cache
