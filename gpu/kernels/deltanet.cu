// Gated DeltaNet (Yang et al. 2024, arXiv:2412.06464): the convolution before it and the recurrence.
//
//   x[t][c] ← silu(Σ_j weight[c][j] · x[t − (width − 1) + j][c])
//   α = e^(a · softplus(alpha logit + dt_bias))    β = sigmoid(beta logit)
//   S ← α·S + β·(v − α·S·k)·kᵀ    out = S·q / √key_dim    (eq. 10; q and k divided by their lengths)
//
// causal_conv_kernel: a thread per channel goes through the tokens with the last rows in registers, eight
// rows loaded at a time so that their latencies overlap. normalize_kernel: a warp per query or key of a
// token. delta_rule_kernel: the rows of a state are independent of each other, so a warp keeps four rows of
// one head in registers, lane l the columns l, l + 32, …, for all tokens: a state is read and written once
// per call. The numbers of the next token are loaded while those of this one are worked on.
//
// Bytes: for one token the states, 4 bytes read and written per value (2 MB per layer of 32 heads of 128 ×
// 128): bound by VRAM. A prompt is bound by the latency of two sums over a warp per token, by count some 200
// cycles. Tolerance: 1e-5 of the largest value against cpu/delta_net.cpp per call of a few tokens: other
// orders of float32 sums (lengths are summed in double there), fused products.

#include "gpu/kernels/deltanet.h"

#include "gpu/device.cuh"
#include "gpu/launch_check.h"

#include <cmath>

namespace greenroom::gpu {
namespace {

constexpr int kThreads = 128;
constexpr int kRowsAhead = 8;
constexpr int kRowsPerWarp = 4;
constexpr int kRowsPerBlock = kRowsPerWarp * kThreads / kWarpSize;

// kWidth: at least the width; the weights and rows that are too many are 0.
template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    causal_conv_kernel(MatrixView x, const float* weight, int width, const float* state, float* next_state) {
    const auto n_channels = static_cast<int>(x.n_cols);
    const int c = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
    if (c >= n_channels) return;
    const int skipped = kWidth - width;
    float w[kWidth];
    float seen[kWidth - 1 + kRowsAhead];  // the last rows, oldest first, and those that follow
    GR_UNROLL
    for (int j = 0; j < kWidth; ++j)
        w[j] = j < skipped ? 0.0F : weight[std::int64_t{c} * width + j - skipped];
    GR_UNROLL
    for (int j = 0; j < kWidth - 1; ++j)
        seen[j] = j < skipped ? 0.0F : state[std::int64_t{j - skipped} * n_channels + c];

    const auto n_tokens = static_cast<int>(x.n_rows);
    for (int begin = 0; begin < n_tokens; begin += kRowsAhead) {
        GR_UNROLL
        for (int i = 0; i < kRowsAhead; ++i)
            seen[kWidth - 1 + i] = begin + i < n_tokens ? row_of(x, begin + i)[c] : 0.0F;
        GR_UNROLL
        for (int i = 0; i < kRowsAhead; ++i) {
            float sum = 0.0F;
            GR_UNROLL
            for (int j = 0; j < kWidth; ++j) sum += w[j] * seen[i + j];
            if (begin + i < n_tokens) row_of(x, begin + i)[c] = silu(sum);
        }
        // The rows before the next piece: the last ones of this, of which there may be fewer than kRowsAhead.
        const int n = n_tokens - begin < kRowsAhead ? n_tokens - begin : kRowsAhead;
        GR_UNROLL
        for (int step = 0; step < kRowsAhead; ++step) {
            if (step >= n) continue;
            GR_UNROLL
            for (int j = 0; j + 1 < kWidth - 1 + kRowsAhead; ++j) seen[j] = seen[j + 1];
        }
    }
    GR_UNROLL
    for (int j = 0; j < kWidth - 1; ++j)
        if (j >= skipped) next_state[std::int64_t{j - skipped} * n_channels + c] = seen[j];
}

// x ← x / √(Σ x² + eps), for the heads of every token.
__global__ void __launch_bounds__(kThreads)
    normalize_kernel(MatrixView qkv, int n_heads, int head_dim, float eps) {
    const int head = static_cast<int>(blockIdx.x) * (kThreads / kWarpSize) + warp_id();
    if (head >= n_heads) return;
    float* x = row_of(qkv, static_cast<std::int64_t>(blockIdx.y)) + head * head_dim;
    float sum = 0.0F;
    for (int i = lane_id(); i < head_dim; i += kWarpSize) sum += x[i] * x[i];
    const float factor = 1.0F / sqrtf(warp_sum(sum) + eps);
    for (int i = lane_id(); i < head_dim; i += kWarpSize) x[i] *= factor;
}

// ln(1 + e^v), which is v for large v.
GR_DEVICE float softplus(float v) {
    constexpr float kLinearFrom = 20.0F;
    return v > kLinearFrom ? v : log1pf(expf(v));
}

struct Head {
    int query_column;
    int key_column;
    int value_column;  // of the warp's first row
    int alpha_column;
    int beta_column;
    float a;
    float dt_bias;
    int n_rows;  // of the warp's rows, those that are there
    int key_dim;
};

// What a warp needs of a token: a lane its columns of query and key.
template <int kColumns>
struct Token {
    float query[kColumns];
    float key[kColumns];
    float value[kRowsPerWarp];
    float alpha_logit;
    float beta_logit;

    GR_DEVICE void load(const MatrixView& qkv, const ConstMatrixView& gates, const Head& head, int t) {
        const float* row = row_of(qkv, t);
        GR_UNROLL
        for (int i = 0; i < kColumns; ++i) {
            const int column = lane_id() + i * kWarpSize;
            query[i] = column < head.key_dim ? row[head.query_column + column] : 0.0F;
            key[i] = column < head.key_dim ? row[head.key_column + column] : 0.0F;
        }
        GR_UNROLL
        for (int r = 0; r < kRowsPerWarp; ++r) value[r] = r < head.n_rows ? row[head.value_column + r] : 0.0F;
        alpha_logit = row_of(gates, t)[head.alpha_column];
        beta_logit = row_of(gates, t)[head.beta_column];
    }
};

template <int kColumns>
__global__ void __launch_bounds__(kThreads)
    delta_rule_kernel(MatrixView out, MatrixView qkv, ConstMatrixView gates, const float* a,
                      const float* dt_bias, const float* state, float* next_state, DeltaNetShape shape) {
    // The shape's own functions are for the host.
    const auto h = static_cast<int>(blockIdx.y);
    const int first_row = static_cast<int>(blockIdx.x) * kRowsPerBlock + warp_id() * kRowsPerWarp;
    if (first_row >= shape.value_dim) return;
    const int heads_per_key = shape.n_value_heads / shape.n_key_heads;
    const int key_cols = shape.n_key_heads * shape.key_dim;
    const int key_head =
        shape.sharing == DeltaNetShape::KeySharing::consecutive ? h / heads_per_key : h % shape.n_key_heads;
    const bool by_key_head = shape.gate_order == DeltaNetShape::GateOrder::by_key_head;
    const int beta_column = by_key_head ? h / heads_per_key * 2 * heads_per_key + h % heads_per_key : h;
    const int rest = shape.value_dim - first_row;
    const Head head{key_head * shape.key_dim,
                    key_cols + key_head * shape.key_dim,
                    2 * key_cols + h * shape.value_dim + first_row,
                    beta_column + (by_key_head ? heads_per_key : shape.n_value_heads),
                    beta_column,
                    a[h],
                    dt_bias[h],
                    rest < kRowsPerWarp ? rest : kRowsPerWarp,
                    shape.key_dim};

    const std::int64_t offset = (std::int64_t{h} * shape.value_dim + first_row) * shape.key_dim + lane_id();
    float s[kRowsPerWarp][kColumns];
    GR_UNROLL
    for (int r = 0; r < kRowsPerWarp; ++r)
        for (int i = 0; i < kColumns; ++i)
            s[r][i] = r < head.n_rows && lane_id() + i * kWarpSize < head.key_dim
                          ? state[offset + r * shape.key_dim + i * kWarpSize]
                          : 0.0F;

    const float scale = 1.0F / sqrtf(static_cast<float>(shape.key_dim));
    const auto n_tokens = static_cast<int>(qkv.n_rows);
    Token<kColumns> next{};
    if (n_tokens > 0) next.load(qkv, gates, head, 0);
    for (int t = 0; t < n_tokens; ++t) {
        const Token<kColumns> token = next;
        if (t + 1 < n_tokens) next.load(qkv, gates, head, t + 1);
        const float alpha = expf(head.a * softplus(token.alpha_logit + head.dt_bias));
        const float beta = sigmoid(token.beta_logit);
        float* to = row_of(out, t) + h * shape.value_dim + first_row;
        GR_UNROLL
        for (int r = 0; r < kRowsPerWarp; ++r) {
            float found = 0.0F;
            GR_UNROLL
            for (int i = 0; i < kColumns; ++i) found += s[r][i] * token.key[i];
            const float correction = beta * (token.value[r] - alpha * warp_sum(found));
            float result = 0.0F;
            GR_UNROLL
            for (int i = 0; i < kColumns; ++i) {
                s[r][i] = alpha * s[r][i] + correction * token.key[i];
                result += s[r][i] * token.query[i];
            }
            result = warp_sum(result);
            if (lane_id() == 0 && r < head.n_rows) to[r] = scale * result;
        }
    }
    GR_UNROLL
    for (int r = 0; r < kRowsPerWarp; ++r)
        for (int i = 0; i < kColumns; ++i)
            if (r < head.n_rows && lane_id() + i * kWarpSize < head.key_dim)
                next_state[offset + r * shape.key_dim + i * kWarpSize] = s[r][i];
}

}  // namespace

void causal_conv(Stream& stream, MatrixView x, std::span<const float> weight, std::span<const float> state,
                 std::span<float> next_state) {
    GR_LAUNCH_CHECK(x.n_cols > 0 && static_cast<std::int64_t>(weight.size()) % x.n_cols == 0);
    const auto width = static_cast<int>(static_cast<std::int64_t>(weight.size()) / x.n_cols);
    GR_LAUNCH_CHECK(width >= 1 && width <= kMaxConvWidth);
    GR_LAUNCH_CHECK(static_cast<std::int64_t>(state.size()) == (width - 1) * x.n_cols &&
                    next_state.size() == state.size());
    launch("causal_conv", width <= 4 ? causal_conv_kernel<4> : causal_conv_kernel<kMaxConvWidth>,
           grid_of(ceil_div<std::int64_t>(x.n_cols, kThreads)), grid_of(kThreads), 0, stream, x,
           weight.data(), width, state.data(), next_state.data());
}

void delta_rule(Stream& stream, MatrixView out, MatrixView qkv, ConstMatrixView gates,
                std::span<const float> a, std::span<const float> dt_bias, float eps,
                std::span<const float> state, std::span<float> next_state, const DeltaNetShape& shape) {
    GR_LAUNCH_CHECK(qkv.n_cols == shape.channels() && out.n_cols == shape.value_cols());
    GR_LAUNCH_CHECK(gates.n_cols == 2 * shape.n_value_heads && out.n_rows == qkv.n_rows &&
                    gates.n_rows == qkv.n_rows);
    GR_LAUNCH_CHECK(static_cast<int>(a.size()) == shape.n_value_heads && dt_bias.size() == a.size());
    GR_LAUNCH_CHECK(static_cast<std::int64_t>(state.size()) == shape.head_state_values() &&
                    next_state.size() == state.size());
    GR_LAUNCH_CHECK(shape.key_dim <= kMaxDeltaKeyDim);
    launch("delta_normalize", normalize_kernel,
           grid_of(ceil_div(2 * shape.n_key_heads, kThreads / kWarpSize), qkv.n_rows), grid_of(kThreads), 0,
           stream, qkv, 2 * shape.n_key_heads, shape.key_dim, eps);
    auto* kernel = shape.key_dim <= 2 * kWarpSize   ? delta_rule_kernel<2>
                   : shape.key_dim <= 4 * kWarpSize ? delta_rule_kernel<4>
                                                    : delta_rule_kernel<8>;
    launch("delta_rule", kernel, grid_of(ceil_div(shape.value_dim, kRowsPerBlock), shape.n_value_heads),
           grid_of(kThreads), 0, stream, out, qkv, gates, a.data(), dt_bias.data(), state.data(),
           next_state.data(), shape);
}

}  // namespace greenroom::gpu
