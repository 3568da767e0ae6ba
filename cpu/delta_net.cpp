#include "cpu/delta_net.h"

#include "cpu/activation.h"
#include "cpu/delta_steps.h"
#include "cpu/kernels.h"
#include "cpu/simd.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

namespace greenroom::cpu {
namespace {

// Channels of a convolution that are worth waking a thread for, and done at a time.
constexpr std::int64_t kChannelsPerTask = 64;
constexpr std::int64_t kMaxWidth = 16;  // of a convolution

// Tokens whose gates a thread computes before they go through the state.
constexpr std::int64_t kTokensAtATime = 64;

// silu(v) · 1 is silu(v).
constexpr auto kOnes = [] {
    std::array<float, kChannelsPerTask> ones{};
    for (float& one : ones) one = 1;
    return ones;
}();

// sums[c] = Σ_j weights[j][c] · rows[j][c], j < width, for kChannelsPerTask channels.
using SumTaps = void (*)(float* sums, const float (*weights)[kChannelsPerTask], const float* const* rows,
                         std::int64_t width) noexcept;

void sum_taps_scalar(float* sums, const float (*weights)[kChannelsPerTask], const float* const* rows,
                     std::int64_t width) noexcept {
    std::fill_n(sums, kChannelsPerTask, 0.0F);
    for (std::int64_t j = 0; j < width; ++j)
        for (std::int64_t c = 0; c < kChannelsPerTask; ++c) sums[c] += weights[j][c] * rows[j][c];
}

GR_AVX2 void sum_taps_avx2(float* sums, const float (*weights)[kChannelsPerTask], const float* const* rows,
                           std::int64_t width) noexcept {
    constexpr int kVectors = kChannelsPerTask / 8;
    __m256 all[kVectors] = {};
    for (std::int64_t j = 0; j < width; ++j) {
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v)
            all[v] = _mm256_fmadd_ps(_mm256_loadu_ps(weights[j] + 8 * v), _mm256_loadu_ps(rows[j] + 8 * v),
                                     all[v]);
    }
    GR_UNROLL
    for (int v = 0; v < kVectors; ++v) _mm256_storeu_ps(sums + 8 * v, all[v]);
}

// ln(1 + e^v), which is v for large v.
float softplus(float v) noexcept {
    constexpr float kLinearFrom = 20.0F;
    return v > kLinearFrom ? v : std::log1p(std::exp(v));
}

// x ← x / √(Σ x² + eps).
void normalize(const Kernels& k, float* x, std::int64_t n, float eps) noexcept {
    const float factor = 1.0F / std::sqrt(k.dot_f32(x, x, n) + eps);
    for (std::int64_t i = 0; i < n; ++i) x[i] *= factor;
}

// What a head's state meets of token t.
DeltaToken token_of(const Kernels& k, const MatrixView& out, const MatrixView& qkv,
                    const ConstMatrixView& gates, std::span<const float> a, std::span<const float> dt_bias,
                    const DeltaNetShape& shape, std::int64_t t, int head) noexcept {
    const auto h = static_cast<std::size_t>(head);
    const float* query = qkv.row(t) + shape.key_head(head) * shape.key_dim;
    const float* key = query + shape.key_cols();
    const float* gate = gates.row(t);
    return {query,
            key,
            qkv.row(t) + 2 * shape.key_cols() + head * shape.value_dim,
            out.row(t) + head * shape.value_dim,
            std::exp(a[h] * softplus(gate[shape.alpha_column(head)] + dt_bias[h])),
            sigmoid(gate[shape.beta_column(head)]),
            k.dot_f32(key, query, shape.key_dim)};
}

}  // namespace

void causal_conv(ThreadTeam& team, MatrixView x, std::span<const float> weight, std::span<const float> state,
                 std::span<float> next_state) {
    const std::int64_t n_channels = x.n_cols;
    const auto width = static_cast<std::int64_t>(weight.size()) / n_channels;
    const std::int64_t n_kept = width - 1;
    assert(static_cast<std::int64_t>(state.size()) == n_kept * n_channels &&
           next_state.size() == state.size());
    assert(width <= kMaxWidth);
    const Kernels& k = kernels();
    const SumTaps sum_taps = k.isa == Isa::scalar ? sum_taps_scalar : sum_taps_avx2;
    team.parallel_for(n_channels, kChannelsPerTask, [&](std::int64_t from, std::int64_t to, int) noexcept {
        for (std::int64_t first = from; first < to; first += kChannelsPerTask) {
            const std::int64_t n = std::min(kChannelsPerTask, to - first);
            // Weights, and the last `width` inputs, of which row t is at t % width; zeros where there are no
            // channels any more.
            float weights[kMaxWidth][kChannelsPerTask] = {};
            float seen[kMaxWidth][kChannelsPerTask] = {};
            for (std::int64_t j = 0; j < width; ++j)
                for (std::int64_t c = 0; c < n; ++c)
                    weights[j][c] = weight[static_cast<std::size_t>((first + c) * width + j)];
            for (std::int64_t j = 0; j < n_kept; ++j)
                std::copy_n(&state[static_cast<std::size_t>(j * n_channels + first)], n, seen[j]);
            for (std::int64_t t = 0; t < x.n_rows; ++t) {
                float* here = x.row(t) + first;
                std::copy_n(here, n, seen[(t + n_kept) % width]);
                const float* rows[kMaxWidth];
                for (std::int64_t j = 0; j < width; ++j) rows[j] = seen[(t + j) % width];
                float sums[kChannelsPerTask];
                sum_taps(sums, weights, rows, width);
                k.glu(Glu::silu, here, sums, kOnes.data(), n);
            }
            for (std::int64_t j = 0; j < n_kept; ++j)
                std::copy_n(seen[(x.n_rows + j) % width], n,
                            &next_state[static_cast<std::size_t>(j * n_channels + first)]);
        }
    });
}

void delta_rule(ThreadTeam& team, MatrixView out, MatrixView qkv, ConstMatrixView gates,
                std::span<const float> a, std::span<const float> dt_bias, float eps,
                std::span<const float> state, std::span<float> next_state, const DeltaNetShape& shape) {
    assert(qkv.n_cols == shape.channels() && out.n_cols == shape.value_cols());
    assert(gates.n_cols == 2 * shape.n_value_heads && out.n_rows == qkv.n_rows && gates.n_rows == qkv.n_rows);
    assert(static_cast<std::int64_t>(state.size()) == shape.head_state_values() &&
           next_state.size() == state.size());
    const Kernels& k = kernels();
    team.parallel_for(qkv.n_rows, 1, [&](std::int64_t first, std::int64_t last, int) noexcept {
        for (std::int64_t t = first; t < last; ++t)
            for (std::int64_t h = 0; h < 2 * shape.n_key_heads; ++h)
                normalize(k, qkv.row(t) + h * shape.key_dim, shape.key_dim, eps);
    });
    team.parallel_for(shape.n_value_heads, 1, [&](std::int64_t first, std::int64_t last, int) noexcept {
        for (std::int64_t head = first; head < last; ++head) {
            const std::int64_t head_state = head * shape.value_dim * shape.key_dim;
            const float* from = state.data() + head_state;
            float* to = next_state.data() + head_state;
            for (std::int64_t t = 0; t < qkv.n_rows; t += kTokensAtATime, from = to) {
                std::array<DeltaToken, kTokensAtATime> tokens;
                const std::int64_t n = std::min(kTokensAtATime, qkv.n_rows - t);
                for (std::int64_t i = 0; i < n; ++i)
                    tokens[static_cast<std::size_t>(i)] =
                        token_of(k, out, qkv, gates, a, dt_bias, shape, t + i, static_cast<int>(head));
                k.delta_steps({tokens.data(), n, from, to, shape.key_dim, shape.value_dim});
            }
        }
    });
}

}  // namespace greenroom::cpu
