#pragma once

// ShadowCaches: which of three rankings of experts would have hit most often so far.
//
// Each ranking has caches of its own, one per layer with that layer's quota, that hold no bytes: every
// request is replayed in all of them (shadow or ghost caches). The leader is the ranking to follow; it
// changes when another one's lead in hits is more than chance would give:
//
//     d = hits of the challenger − hits of the leader, in a token;  Σ d > z · √Σ d²
//
// Both sums forget 1 / 1000 per token, and know nothing of who led when. The sample is a token, all its
// layers together: what happens in a text happens to all of them at once, so layers are no independent
// witnesses. The first leader is `frequency`.
//
// In the global scope the shadows have quotas all the same: they compare orders of experts.
//
// A token is as many requests as there are layers. In a batch, which tells a layer all its tokens first, that
// is a stretch of one layer.
//
// One thread. The constructor reserves everything. A request costs a pass over the quota for each miss of a
// shadow: 1 to 2 µs for 128 experts, 8 of them called.

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
