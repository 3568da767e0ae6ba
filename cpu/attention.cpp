#include "cpu/attention.h"

#include "cpu/kernels.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace greenroom::cpu {
namespace {

// scores ← softmax(scores).
void softmax(float* scores, std::int64_t n) noexcept {
    const float highest = *std::max_element(scores, scores + n);
    double sum = 0;
    for (std::int64_t s = 0; s < n; ++s) {
        scores[s] = std::exp(scores[s] - highest);
        sum += static_cast<double>(scores[s]);
    }
    const auto factor = static_cast<float>(1.0 / sum);
    for (std::int64_t s = 0; s < n; ++s) scores[s] *= factor;
}

}  // namespace

void mla_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   ConstMatrixView cache, std::int64_t first_position, const MlaShape& shape) {
    assert(q.n_cols == shape.n_heads * shape.row_dim() && out.n_cols == shape.n_heads * shape.latent_dim);
    assert(cache.n_cols == shape.row_dim() && scratch.floats_per_thread() >= first_position + q.n_rows);
    const Kernels& k = kernels();
    team.parallel_for(q.n_rows * shape.n_heads, 1, [&](std::int64_t item, std::int64_t, int thread) noexcept {
        const std::int64_t t = item / shape.n_heads;
        const std::int64_t head = item % shape.n_heads;
        const float* query = q.row(t) + head * shape.row_dim();
        float* result = out.row(t) + head * shape.latent_dim;
        float* scores = scratch.of(thread);

        const std::int64_t n_visible = first_position + t + 1;
        const std::int64_t n_in_fours = n_visible / kVectors * kVectors;
        const float* rows[kVectors];
        for (std::int64_t s = 0; s < n_in_fours; s += kVectors) {
            for (int j = 0; j < kVectors; ++j) rows[j] = cache.row(s + j);
            k.dot_f32_x4(query, rows, shape.row_dim(), scores + s);
        }
        for (std::int64_t s = n_in_fours; s < n_visible; ++s)
            scores[s] = k.dot_f32(query, cache.row(s), shape.row_dim());
        for (std::int64_t s = 0; s < n_visible; ++s) scores[s] *= shape.scale;
        softmax(scores, n_visible);

        std::fill_n(result, shape.latent_dim, 0.0F);
        for (std::int64_t s = 0; s < n_in_fours; s += kVectors) {
            for (int j = 0; j < kVectors; ++j) rows[j] = cache.row(s + j);
            k.axpy_f32_x4(result, scores + s, rows, shape.latent_dim);
        }
        for (std::int64_t s = n_in_fours; s < n_visible; ++s)
            k.axpy_f32(result, scores[s], cache.row(s), shape.latent_dim);
    });
}

}  // namespace greenroom::cpu
