#include "cpu/indexer.h"

#include "cpu/decode_row.h"
#include "cpu/kernels.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>
#include <limits>

namespace greenroom::cpu {
namespace {

// Writes the positions of the highest scores in rising order. `work` has room for n floats.
void choose(std::span<std::int32_t> chosen, const float* scores, std::int64_t n, float* work) noexcept {
    const auto top_k = static_cast<std::int64_t>(chosen.size());
    std::fill(chosen.begin(), chosen.end(), -1);
    std::int64_t n_equal = top_k;  // how many of those that score exactly `least` are taken
    float least = 0;
    if (n > top_k) {
        std::copy_n(scores, n, work);
        std::nth_element(work, work + top_k - 1, work + n, std::greater<>());
        least = work[top_k - 1];
        n_equal = top_k - std::count_if(scores, scores + n, [least](float s) { return s > least; });
    }
    auto next = chosen.begin();
    for (std::int64_t s = 0; s < n; ++s)
        if (n <= top_k || scores[s] > least || (scores[s] == least && n_equal-- > 0))
            *next++ = static_cast<std::int32_t>(s);
}

}  // namespace

std::int64_t indexer_scratch_floats(std::int64_t max_positions, std::int64_t head_dim) noexcept {
    return 2 * max_positions + head_dim;
}

void index_positions(ThreadTeam& team, const Scratch& scratch, std::span<std::int32_t> visible,
                     ConstMatrixView q, ConstMatrixView weights, const KvRows& keys,
                     std::int64_t first_position, std::int64_t top_k) {
    const std::int64_t head_dim = keys.n_values;
    const std::int64_t n_heads = weights.n_cols;
    assert(q.n_cols == n_heads * head_dim && static_cast<std::int64_t>(visible.size()) == q.n_rows * top_k);
    const Kernels& k = kernels();
    const quant::DecodeFn decode = find_row_decoder(keys.type);
    team.parallel_for(q.n_rows, 1, [&](std::int64_t first, std::int64_t last, int thread) noexcept {
        for (std::int64_t t = first; t < last; ++t) {
            const std::int64_t n = first_position + t + 1;
            float* scores = scratch.of(thread);
            float* work = scores + n;
            float* key = work + n;
            for (std::int64_t s = 0; s < n; ++s) {
                decode(keys.row(s), key, head_dim);
                float score = 0;
                for (std::int64_t h = 0; h < n_heads; ++h)
                    score +=
                        weights.row(t)[h] * std::max(0.0F, k.dot_f32(q.row(t) + h * head_dim, key, head_dim));
                // A NaN (broken weights) has no place in an order.
                scores[s] = std::isnan(score) ? -std::numeric_limits<float>::infinity() : score;
            }
            choose(visible.subspan(static_cast<std::size_t>(t * top_k), static_cast<std::size_t>(top_k)),
                   scores, n, work);
        }
    });
}

}  // namespace greenroom::cpu
