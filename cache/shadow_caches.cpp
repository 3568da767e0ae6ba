#include "cache/shadow_caches.h"

#include "quant/base/error.h"

#include <cmath>
#include <limits>

namespace greenroom::cache {
namespace {

constexpr double kKept = 0.999;  // per token

// The learned ranking starts as the frequency and grows out of it: their caches hold nearly the same, so that
// it costs little to take the wrong one of them, and much to wait. The caches of recency hold something else,
// so a change costs loads, and within a text there are streaks: it takes more to believe in them.
constexpr double kOfAKind = 1.5;
constexpr double kOfAnotherKind = 4;

double least_lead(std::size_t a, std::size_t b) noexcept {
    constexpr auto kRecency = static_cast<std::size_t>(Ranking::recency);
    return a == kRecency || b == kRecency ? kOfAnotherKind : kOfAKind;
}

}  // namespace

ShadowCaches::ShadowCaches(const CacheShape& shape) : shape_(shape) {
    GR_CHECK(shape.n_layers > 0 && shape.n_experts > 0 && shape.n_slots >= 0);
    const std::size_t rows = static_cast<std::size_t>(shape.n_layers) * kRankings;
    is_held_.resize(rows * static_cast<std::size_t>(shape.n_experts));
    held_.resize(rows * static_cast<std::size_t>(shape.quota(0)));
    n_held_.resize(rows);
    is_called_.resize(static_cast<std::size_t>(shape.n_experts));
}

std::int64_t ShadowCaches::bytes(const CacheShape& shape) noexcept {
    const std::int64_t rows = shape.n_layers * std::int64_t{kRankings};
    return rows * (shape.n_experts + (shape.quota(0) + 1) * std::int64_t{sizeof(std::int32_t)}) +
           shape.n_experts;
}

void ShadowCaches::observe(const Request& request, const Scores& scores) {
    for (const std::int32_t e : request.experts) is_called_[static_cast<std::size_t>(e)] = 1;
    for (std::size_t i = 0; i < kRankings; ++i) hits_[i] += replay(request, i, scores);
    for (const std::int32_t e : request.experts) is_called_[static_cast<std::size_t>(e)] = 0;
    if (++n_requests_ % shape_.n_layers == 0) judge();
}

// The same rules as the simulator's: every miss is loaded, and the request's own experts do not go.
int ShadowCaches::replay(const Request& request, std::size_t ranking, const Scores& scores) {
    const std::size_t row = static_cast<std::size_t>(request.layer) * kRankings + ranking;
    const auto quota = static_cast<std::int32_t>(shape_.quota(request.layer));
    std::uint8_t* const is_held = is_held_.data() + row * static_cast<std::size_t>(shape_.n_experts);
    std::int32_t* const held = held_.data() + row * static_cast<std::size_t>(shape_.quota(0));
    const double* const score = scores[ranking].data();
    const double* const recency = scores[static_cast<std::size_t>(Ranking::recency)].data();
    const auto is_older = [&](std::int32_t a, std::int32_t b) {
        return recency[a] != recency[b] ? recency[a] < recency[b] : a < b;
    };
    int n_hits = 0;
    for (const std::int32_t e : request.experts) {
        if (is_held[e] != 0) {
            ++n_hits;
            continue;
        }
        std::int32_t slot = n_held_[row];
        if (slot < quota) {
            ++n_held_[row];
        } else {
            slot = -1;
            double least = std::numeric_limits<double>::infinity();
            for (std::int32_t i = 0; i < quota; ++i) {
                const std::int32_t other = held[i];
                if (score[other] > least || is_called_[static_cast<std::size_t>(other)] != 0) continue;
                if (slot >= 0 && score[other] == least && !is_older(other, held[slot])) continue;
                slot = i;
                least = score[other];
            }
            if (slot < 0) continue;
            is_held[held[slot]] = 0;
        }
        held[slot] = e;
        is_held[e] = 1;
    }
    return n_hits;
}

// After as many requests as a token makes.
void ShadowCaches::judge() {
    std::size_t best = leader_;
    for (std::size_t i = 0; i < kRankings; ++i) {
        for (std::size_t j = 0; j < kRankings; ++j) {
            Duel& duel = duels_[i][j];
            const double d = hits_[i] - hits_[j];
            duel.lead = kKept * duel.lead + d;
            duel.squares = kKept * duel.squares + d * d;
        }
    }
    for (std::size_t i = 0; i < kRankings; ++i) {
        const Duel& duel = duels_[i][leader_];
        if (duel.lead > least_lead(i, leader_) * std::sqrt(duel.squares) &&
            duel.lead > duels_[best][leader_].lead)
            best = i;
    }
    leader_ = best;
    hits_ = {};
}

}  // namespace greenroom::cache
