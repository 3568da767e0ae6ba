// The router: the experts of each token and their weights.
//
//   score = softmax(logits), sigmoid(logits) or logits;   selection = score + bias;
//   only the best groups' experts are candidates;  the top_k highest selections are chosen, the lower index
//   first where they are equal;  weight = score of the chosen [softmax of these] [/ their sum] · scale
//
// A block of one warp does a token: lane l holds experts l, l + 32, … in registers, and their selections in
// shared memory where groups are summed up. Each of the top_k rounds is a maximum over the lane's 16 and over
// the warp. Reads 4 bytes per expert (2 KB per token): bound by latency, some 16 · top_k + 500 instructions
// after each other.
//
// Tolerance: the same experts as cpu/router.cpp wherever selections differ by more than rounding (sums of
// softmax are formed in another order; a sum of two or a maximum is the same bits); weights within 1e-6 of
// themselves. NaN: an expert that is not a number is chosen only when it is the first that is left, as on the
// CPU, so experts stay distinct.

#include "gpu/kernels/router.h"

#include "gpu/device.cuh"
#include "gpu/launch_check.h"

#include <cmath>

namespace greenroom::gpu {
namespace {

constexpr int kPerLane = kMaxExperts / kWarpSize;

struct Memory {
    float selection[kMaxExperts];
    float group[kMaxExpertGroups];
    float weights[kMaxExperts];
};

// A candidate and its selection.
struct Best {
    float value;
    int expert;
};

// Whether a is ahead of b. Experts are −1 where there is none; values are numbers where there is one.
GR_DEVICE bool is_ahead(const Best& a, const Best& b) {
    if (a.expert < 0 || b.expert < 0) return a.expert >= 0;
    return a.value > b.value || (a.value == b.value && a.expert < b.expert);
}

// What a group of experts is worth.
GR_DEVICE float group_score(const float* selection, int n, RouterRule::GroupScore kind) {
    float best = -INFINITY;
    float second = -INFINITY;
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

// Excludes all but the best groups' experts from the selection, in registers. A group is beaten by those with
// a higher score and by earlier ones with the same.
GR_DEVICE void limit_groups(float (&selection)[kPerLane], Memory& memory, const RouterRule& rule) {
    const int size = rule.n_experts / rule.n_groups;
    GR_UNROLL
    for (int i = 0; i < kPerLane; ++i)
        if (i * kWarpSize + lane_id() < rule.n_experts)
            memory.selection[i * kWarpSize + lane_id()] = selection[i];
    __syncthreads();
    for (int g = lane_id(); g < rule.n_groups; g += kWarpSize)
        memory.group[g] = group_score(memory.selection + g * size, size, rule.group_score);
    __syncthreads();
    GR_UNROLL
    for (int i = 0; i < kPerLane; ++i) {
        // Experts behind the last whole group belong to none and stay.
        const int g = (i * kWarpSize + lane_id()) / size;
        if (g >= rule.n_groups) continue;
        const float score = memory.group[g];
        int n_better = 0;
        for (int other = 0; other < rule.n_groups; ++other)
            n_better += memory.group[other] > score || (memory.group[other] == score && other < g) ? 1 : 0;
        if (n_better >= rule.n_groups_used) selection[i] = -INFINITY;
    }
}

// The best of the experts that are not taken (bit i of `taken`: expert lane + 32·i). If the first of them
// isn't a number it is that one.
GR_DEVICE int choose(const float (&selection)[kPerLane], unsigned taken, int n_experts) {
    Best best{0.0F, -1};
    int first = n_experts;
    float first_value = 0.0F;
    GR_UNROLL
    for (int i = kPerLane - 1; i >= 0; --i) {
        const int e = i * kWarpSize + lane_id();
        if (e >= n_experts || (taken >> i & 1U) != 0) continue;
        first = e;
        first_value = selection[i];
        const Best candidate{selection[i], e};
        if (selection[i] == selection[i] && is_ahead(candidate, best)) best = candidate;
    }
    for (int mask = kWarpSize / 2; mask > 0; mask /= 2) {
        const Best other{shuffle_xor(best.value, mask), shuffle_xor(best.expert, mask)};
        if (is_ahead(other, best)) best = other;
    }
    const int first_of_all = -warp_max(-first);
    const unsigned not_a_number = ballot(first == first_of_all && first_value != first_value);
    return not_a_number != 0 || best.expert < 0 ? first_of_all : best.expert;
}

__global__ void __launch_bounds__(kWarpSize)
    route_kernel(std::int32_t* experts, float* weights, ConstMatrixView logits, const float* bias,
                 RouterRule rule) {
    __shared__ Memory memory;
    const auto t = static_cast<std::int64_t>(blockIdx.x);
    const int n = rule.n_experts;
    float scores[kPerLane];
    float highest = -INFINITY;
    GR_UNROLL
    for (int i = 0; i < kPerLane; ++i) {
        const int e = i * kWarpSize + lane_id();
        scores[i] = e < n ? row_of(logits, t)[e] : -INFINITY;
        highest = fmaxf(highest, scores[i]);
    }
    if (rule.scoring == RouterRule::Scoring::softmax) {
        highest = warp_max(highest);
        float sum = 0.0F;
        GR_UNROLL
        for (int i = 0; i < kPerLane; ++i) {
            scores[i] = i * kWarpSize + lane_id() < n ? expf(scores[i] - highest) : 0.0F;
            sum += scores[i];
        }
        sum = warp_sum(sum);
        GR_UNROLL
        for (int i = 0; i < kPerLane; ++i) scores[i] /= sum;
    } else if (rule.scoring == RouterRule::Scoring::sigmoid) {
        GR_UNROLL
        for (int i = 0; i < kPerLane; ++i) scores[i] = sigmoid(scores[i]);
    }
    float selection[kPerLane];
    GR_UNROLL
    for (int i = 0; i < kPerLane; ++i) {
        const int e = i * kWarpSize + lane_id();
        selection[i] = bias != nullptr && e < n ? scores[i] + bias[e] : scores[i];
    }
    if (rule.n_groups > 1) limit_groups(selection, memory, rule);

    const int top_k = rule.top_k;
    unsigned taken = 0;
    for (int k = 0; k < top_k; ++k) {
        const int chosen = choose(selection, taken, n);
        if (chosen % kWarpSize == lane_id()) {
            GR_UNROLL
            for (int i = 0; i < kPerLane; ++i)
                if (i == chosen / kWarpSize) memory.weights[k] = scores[i];
            taken |= 1U << (chosen / kWarpSize);
            experts[t * top_k + k] = chosen;
        }
    }
    __syncthreads();

    // Sums over the chosen are formed in their order, by every lane for itself: few numbers, and the same
    // bits as on the CPU.
    if (rule.scoring == RouterRule::Scoring::softmax_of_chosen) {
        float largest = memory.weights[0];
        for (int k = 1; k < top_k; ++k)
            if (memory.weights[k] > largest) largest = memory.weights[k];
        __syncthreads();
        for (int k = lane_id(); k < top_k; k += kWarpSize)
            memory.weights[k] = expf(memory.weights[k] - largest);
        __syncthreads();
        float sum = 0.0F;
        for (int k = 0; k < top_k; ++k) sum += memory.weights[k];
        __syncthreads();
        for (int k = lane_id(); k < top_k; k += kWarpSize) memory.weights[k] /= sum;
        __syncthreads();
    }
    float sum = 0.0F;
    for (int k = 0; k < top_k; ++k) sum += memory.weights[k];
    constexpr float kLeastSum = 1e-20F;  // DeepSeek-V3's guard against a division by zero
    const float factor = rule.normalize ? rule.scale / (sum + kLeastSum) : rule.scale;
    for (int k = lane_id(); k < top_k; k += kWarpSize) weights[t * top_k + k] = memory.weights[k] * factor;
}

}  // namespace

void route(Stream& stream, std::span<std::int32_t> experts, std::span<float> weights, ConstMatrixView logits,
           std::span<const float> bias, const RouterRule& rule) {
    GR_LAUNCH_CHECK(logits.n_cols == rule.n_experts && rule.n_experts <= kMaxExperts);
    GR_LAUNCH_CHECK(rule.top_k >= 1 && rule.top_k <= rule.n_experts);
    GR_LAUNCH_CHECK(rule.n_groups >= 1 && rule.n_groups <= kMaxExpertGroups &&
                    rule.n_groups <= rule.n_experts);
    GR_LAUNCH_CHECK(static_cast<std::int64_t>(experts.size()) == logits.n_rows * rule.top_k &&
                    weights.size() == experts.size());
    GR_LAUNCH_CHECK(bias.empty() || static_cast<int>(bias.size()) == rule.n_experts);
    launch("route", route_kernel, grid_of(logits.n_rows), grid_of(kWarpSize), 0, stream, experts.data(),
           weights.data(), logits, bias.empty() ? nullptr : bias.data(), rule);
}

}  // namespace greenroom::gpu
