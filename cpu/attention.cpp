#include "cpu/attention.h"

#include "cpu/kernels.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace greenroom::cpu {
namespace {

// scores ← e^score / Σ e^score, the sum including *sink where there is one.
void softmax(float* scores, std::int64_t n, const float* sink) noexcept {
    float highest = *std::max_element(scores, scores + n);
    if (sink != nullptr) highest = std::max(highest, *sink);
    double sum = sink != nullptr ? std::exp(static_cast<double>(*sink - highest)) : 0.0;
    for (std::int64_t s = 0; s < n; ++s) {
        scores[s] = std::exp(scores[s] - highest);
        sum += static_cast<double>(scores[s]);
    }
    const auto factor = static_cast<float>(1.0 / sum);
    for (std::int64_t s = 0; s < n; ++s) scores[s] *= factor;
}

// The cached keys or values of one head: row s lies at first + s · stride.
struct HeadRows {
    const float* first;
    std::int64_t stride;
    std::int64_t n_values;

    const float* row(std::int64_t s) const noexcept { return first + s * stride; }
};

// One head of one token: result = Σ softmax(scale · query · keys) · values over n rows. scores: n floats to
// work in.
void attend(const Kernels& k, float* result, const float* query, HeadRows keys, HeadRows values,
            std::int64_t n, float scale, const float* sink, float* scores) noexcept {
    const std::int64_t n_in_fours = n / kVectors * kVectors;
    const float* rows[kVectors];
    for (std::int64_t s = 0; s < n_in_fours; s += kVectors) {
        for (int j = 0; j < kVectors; ++j) rows[j] = keys.row(s + j);
        k.dot_f32_x4(query, rows, keys.n_values, scores + s);
    }
    for (std::int64_t s = n_in_fours; s < n; ++s) scores[s] = k.dot_f32(query, keys.row(s), keys.n_values);
    for (std::int64_t s = 0; s < n; ++s) scores[s] *= scale;
    softmax(scores, n, sink);

    std::fill_n(result, values.n_values, 0.0F);
    for (std::int64_t s = 0; s < n_in_fours; s += kVectors) {
        for (int j = 0; j < kVectors; ++j) rows[j] = values.row(s + j);
        k.axpy_f32_x4(result, scores + s, rows, values.n_values);
    }
    for (std::int64_t s = n_in_fours; s < n; ++s)
        k.axpy_f32(result, scores[s], values.row(s), values.n_values);
}

}  // namespace

void mla_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   ConstMatrixView cache, std::int64_t first_position, const MlaShape& shape) {
    assert(q.n_cols == shape.n_heads * shape.row_dim() && out.n_cols == shape.n_heads * shape.latent_dim);
    assert(cache.n_cols == shape.row_dim() && scratch.floats_per_thread() >= first_position + q.n_rows);
    const Kernels& k = kernels();
    const HeadRows keys{cache.data, cache.stride, shape.row_dim()};
    const HeadRows values{cache.data, cache.stride, shape.latent_dim};
    team.parallel_for(q.n_rows * shape.n_heads, 1, [&](std::int64_t item, std::int64_t, int thread) noexcept {
        const std::int64_t t = item / shape.n_heads;
        const std::int64_t head = item % shape.n_heads;
        attend(k, out.row(t) + head * shape.latent_dim, q.row(t) + head * shape.row_dim(), keys, values,
               first_position + t + 1, shape.scale, nullptr, scratch.of(thread));
    });
}

void gqa_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   ConstMatrixView cache, std::int64_t first_position, const GqaShape& shape,
                   std::span<const float> sinks) {
    assert(q.n_cols == shape.n_heads * shape.head_dim && out.n_cols == shape.n_heads * shape.value_dim);
    assert(cache.n_cols == shape.key_cols() + shape.value_cols());
    assert(scratch.floats_per_thread() >= first_position + q.n_rows);
    assert(sinks.empty() || static_cast<int>(sinks.size()) == shape.n_heads);
    const Kernels& k = kernels();
    const int heads_per_kv = shape.n_heads / shape.n_kv_heads;
    team.parallel_for(q.n_rows * shape.n_heads, 1, [&](std::int64_t item, std::int64_t, int thread) noexcept {
        const std::int64_t t = item / shape.n_heads;
        const std::int64_t head = item % shape.n_heads;
        const std::int64_t kv_head = head / heads_per_kv;
        const std::int64_t position = first_position + t;
        const std::int64_t first = shape.first_visible(position);
        const float* row = cache.row(first);
        const HeadRows keys{row + kv_head * shape.head_dim, cache.stride, shape.head_dim};
        const HeadRows values{row + shape.key_cols() + kv_head * shape.value_dim, cache.stride,
                              shape.value_dim};
        attend(k, out.row(t) + head * shape.value_dim, q.row(t) + head * shape.head_dim, keys, values,
               position - first + 1, shape.scale,
               sinks.empty() ? nullptr : &sinks[static_cast<std::size_t>(head)], scratch.of(thread));
    });
}

}  // namespace greenroom::cpu
