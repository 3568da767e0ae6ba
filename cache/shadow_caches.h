#pragma once

// ShadowCaches: which of three rankings of experts would have hit most often so far.
//
// Each ranking has caches of its own, one per layer with that layer's quota, that hold no bytes: every
// request is replayed in all of them ("ghost" or "shadow" caches). The leader is the ranking to follow. It
// changes when another one's lead in hits since then is more than chance would give. The sample is a token,
// all layers together, because what a text does it does to all of them at once:
//
//     lead = Σ d,  d = hits of the challenger − hits of the leader in a token;  lead > z · √Σ d²
//
// Both sums forget 1 / 1000 per token. Among equal experts the rankings differ little and a change costs
// loads, so without evidence the leader stays, and the first one is `frequency`.
//
// In the global scope the shadows have quotas all the same: what they compare is the order of experts, and
// layers that compete would not change who is better at it by much.
//
// One thread. The constructor reserves everything. A request costs a pass over the quota for each miss of a
// shadow.

#include "cache/policy.h"

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::cache {

enum class Ranking { frequency, learned, recency };

class ShadowCaches {
  public:
    static constexpr std::size_t kRankings = 3;

    // By ranking: the scores of a layer's experts, finite. The lowest goes first, and among equals the one of
    // the lowest recency.
    using Scores = std::array<std::span<const double>, kRankings>;

    explicit ShadowCaches(const CacheShape& shape);

    // What the constructor reserves.
    static std::int64_t bytes(const CacheShape& shape) noexcept;

    // `scores` are those of the request's layer, and have heard of the request.
    void observe(const Request& request, const Scores& scores);

    Ranking leader() const noexcept { return static_cast<Ranking>(leader_); }

  private:
    // Of one ranking over another.
    struct Duel {
        double lead = 0;
        double squares = 0;
    };

    int replay(const Request& request, std::size_t ranking, const Scores& scores);
    void judge();

    CacheShape shape_;
    std::size_t leader_ = 0;
    std::int64_t n_requests_ = 0;
    std::array<int, kRankings> hits_{};  // of the token
    std::array<std::array<Duel, kRankings>, kRankings> duels_{};

    // By layer and ranking.
    std::vector<std::uint8_t> is_held_;    // [n_layers, kRankings, n_experts]
    std::vector<std::int32_t> held_;       // [n_layers, kRankings, quota of layer 0], in no order
    std::vector<std::int32_t> n_held_;     // [n_layers, kRankings]
    std::vector<std::uint8_t> is_called_;  // [n_experts], by the request
};

}  // namespace greenroom::cache
