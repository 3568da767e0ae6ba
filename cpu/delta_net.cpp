#include "cpu/delta_net.h"

#include "cpu/activation.h"
#include "cpu/kernels.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>

namespace greenroom::cpu {
namespace {

// Channels of a convolution that are worth waking a thread for, and done at a time.
constexpr std::int64_t kChannelsPerTask = 64;
constexpr std::int64_t kMaxWidth = 16;  // of a convolution

// silu(v) · 1 is silu(v).
constexpr auto kOnes = [] {
    std::array<float, kChannelsPerTask> ones{};
    for (float& one : ones) one = 1;
    return ones;
}();

// ln(1 + e^v), which is v for large v.
float softplus(float v) noexcept {
    constexpr float kLinearFrom = 20.0F;
    return v > kLinearFrom ? v : std::log1p(std::exp(v));
}

// x ← x / √(Σ x² + eps).
void normalize(float* x, std::int64_t n, float eps) noexcept {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    const float factor = 1.0F / std::sqrt(static_cast<float>(sum) + eps);
    for (std::int64_t i = 0; i < n; ++i) x[i] *= factor;
}

// One token of one head. The state's rows are independent of each other: each is decayed, corrected and read
// while it is in the first-level cache.
void step(const Kernels& k, float* out, const float* query, const float* key, const float* value, float alpha,
          float beta, const float* state, float* next_state, const DeltaNetShape& shape) noexcept {
    const std::int64_t n = shape.key_dim;
    const float scale = 1.0F / std::sqrt(static_cast<float>(n));
    for (std::int64_t i = 0; i < shape.value_dim; ++i, state += n, next_state += n) {
        const float found = alpha * k.dot_f32(state, key, n);
        const float correction = beta * (value[i] - found);
        for (std::int64_t j = 0; j < n; ++j) next_state[j] = alpha * state[j] + correction * key[j];
        out[i] = scale * k.dot_f32(next_state, query, n);
    }
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
    team.parallel_for(n_channels, kChannelsPerTask, [&](std::int64_t from, std::int64_t to, int) noexcept {
        for (std::int64_t first = from; first < to; first += kChannelsPerTask) {
            const std::int64_t n = std::min(kChannelsPerTask, to - first);
            // Weights, and the last `width` inputs, of which row t is at t % width.
            float weights[kMaxWidth][kChannelsPerTask];
            float seen[kMaxWidth][kChannelsPerTask];
            for (std::int64_t j = 0; j < width; ++j)
                for (std::int64_t c = 0; c < n; ++c)
                    weights[j][c] = weight[static_cast<std::size_t>((first + c) * width + j)];
            for (std::int64_t j = 0; j < n_kept; ++j)
                std::copy_n(&state[static_cast<std::size_t>(j * n_channels + first)], n, seen[j]);
            for (std::int64_t t = 0; t < x.n_rows; ++t) {
                float* here = x.row(t) + first;
                std::copy_n(here, n, seen[(t + n_kept) % width]);
                float sums[kChannelsPerTask] = {};
                for (std::int64_t j = 0; j < width; ++j) {
                    const float* row = seen[(t + j) % width];
                    for (std::int64_t c = 0; c < n; ++c) sums[c] += weights[j][c] * row[c];
                }
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
                normalize(qkv.row(t) + h * shape.key_dim, shape.key_dim, eps);
    });
    team.parallel_for(shape.n_value_heads, 1, [&](std::int64_t first, std::int64_t last, int) noexcept {
        for (std::int64_t head = first; head < last; ++head) {
            const auto h = static_cast<std::size_t>(head);
            const int key_head = shape.key_head(static_cast<int>(head));
            const std::int64_t head_state = head * shape.value_dim * shape.key_dim;
            const float* from = state.data() + head_state;
            float* to = next_state.data() + head_state;
            for (std::int64_t t = 0; t < qkv.n_rows; ++t) {
                const float* query = qkv.row(t) + key_head * shape.key_dim;
                const float* key = query + shape.key_cols();
                const float* value = qkv.row(t) + 2 * shape.key_cols() + head * shape.value_dim;
                const float* gate = gates.row(t);
                const float alpha =
                    std::exp(a[h] * softplus(gate[shape.alpha_column(static_cast<int>(head))] + dt_bias[h]));
                const float beta = sigmoid(gate[shape.beta_column(static_cast<int>(head))]);
                step(k, out.row(t) + head * shape.value_dim, query, key, value, alpha, beta, from, to, shape);
                from = to;
            }
        }
    });
}

}  // namespace greenroom::cpu
