#include "cpu/router.h"

#include "cpu/activation.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

namespace greenroom::cpu {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

void softmax(float* out, const float* logits, int n) noexcept {
    const float highest = *std::max_element(logits, logits + n);
    float sum = 0;
    for (int e = 0; e < n; ++e) sum += out[e] = std::exp(logits[e] - highest);
    for (int e = 0; e < n; ++e) out[e] /= sum;
}

float group_score(const float* selection, int n, RouterRule::GroupScore kind) noexcept {
    float best = kNever;
    float second = kNever;
    for (int e = 0; e < n; ++e) {
        if (selection[e] > best) {
            second = best;
            best = selection[e];
        } else if (selection[e] > second) {
            second = selection[e];
        }
    }
    return kind == RouterRule::GroupScore::best_two && n > 1 ? best + second : best;
}

// Excludes all but the best n_groups_used groups from the selection. A group is beaten by those with a higher
// score and by earlier ones with the same.
void limit_groups(float* selection, const RouterRule& rule) noexcept {
    constexpr int kMaxGroups = 256;  // checked when the model is loaded
    assert(rule.n_groups <= kMaxGroups);
    const int size = rule.n_experts / rule.n_groups;
    float scores[kMaxGroups];
    for (int g = 0; g < rule.n_groups; ++g)
        scores[g] = group_score(selection + g * size, size, rule.group_score);
    for (int g = 0; g < rule.n_groups; ++g) {
        int n_better = 0;
        for (int other = 0; other < rule.n_groups; ++other)
            n_better += scores[other] > scores[g] || (scores[other] == scores[g] && other < g);
        if (n_better >= rule.n_groups_used) std::fill_n(selection + g * size, size, kNever);
    }
}

void route_token(std::int32_t* experts, float* weights, const float* logits, std::span<const float> bias,
                 const RouterRule& rule, float* scores, float* selection) noexcept {
    const int n = rule.n_experts;
    switch (rule.scoring) {
        case RouterRule::Scoring::softmax:
            softmax(scores, logits, n);
            break;
        case RouterRule::Scoring::softmax_of_chosen:
            std::copy_n(logits, n, scores);
            break;
        case RouterRule::Scoring::sigmoid:
            std::transform(logits, logits + n, scores, sigmoid);
            break;
    }
    for (int e = 0; e < n; ++e)
        selection[e] = bias.empty() ? scores[e] : scores[e] + bias[static_cast<std::size_t>(e)];
    if (rule.n_groups > 1) limit_groups(selection, rule);

    // NaN logits compare false everywhere: the first expert that is not taken yet then wins, so ids stay
    // distinct. One that is taken wins no more.
    int first_left = 0;
    for (int k = 0; k < rule.top_k; ++k) {
        while (std::find(experts, experts + k, first_left) != experts + k) ++first_left;
        int chosen = first_left;
        for (int e = first_left + 1; e < n; ++e)
            if (selection[e] > selection[chosen]) chosen = e;
        experts[k] = chosen;
        weights[k] = scores[chosen];
        selection[chosen] = kNever;
    }
    if (rule.scoring == RouterRule::Scoring::softmax_of_chosen) softmax(weights, weights, rule.top_k);
    float sum = 0;
    for (int k = 0; k < rule.top_k; ++k) sum += weights[k];
    constexpr float kLeastSum = 1e-20F;  // DeepSeek-V3's guard against a division by zero
    const float factor = rule.normalize ? rule.scale / (sum + kLeastSum) : rule.scale;
    for (int k = 0; k < rule.top_k; ++k) weights[k] *= factor;
}

}  // namespace

void route(ThreadTeam& team, const Scratch& scratch, std::span<std::int32_t> experts,
           std::span<float> weights, ConstMatrixView logits, std::span<const float> bias,
           const RouterRule& rule) {
    assert(logits.n_cols == rule.n_experts && rule.top_k <= rule.n_experts);
    assert(static_cast<std::int64_t>(experts.size()) == logits.n_rows * rule.top_k &&
           weights.size() == experts.size());
    assert(scratch.floats_per_thread() >= 2 * rule.n_experts);
    constexpr std::int64_t kTokensPerTask = 16;
    team.parallel_for(logits.n_rows, kTokensPerTask,
                      [&](std::int64_t first, std::int64_t last, int thread) noexcept {
                          float* scores = scratch.of(thread);
                          for (std::int64_t t = first; t < last; ++t)
                              route_token(experts.data() + t * rule.top_k, weights.data() + t * rule.top_k,
                                          logits.row(t), bias, rule, scores, scores + rule.n_experts);
                      });
}

}  // namespace greenroom::cpu
