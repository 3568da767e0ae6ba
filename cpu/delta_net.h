#pragma once

// Gated DeltaNet (Yang et al. 2024, arXiv:2412.06464), the linear attention of Qwen3-Next and Qwen3.5: a
// short convolution over time, then a state per head that is decayed, corrected by the delta rule and read.
//
// State is read from one place and written to another, so that a step that is given up leaves the old one
// whole; the two may be the same. Tokens are done one after the other, heads in parallel: the same bits for
// any batching and number of threads.

#include "cpu/parallel.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <span>

namespace greenroom::cpu {

// x[t][c] ← silu(Σ_j weight[c][j] · x[t - (width - 1) + j][c]), j < width: a causal convolution per channel,
// where the rows before the first are `state`, [width - 1, channels], oldest first. next_state: those before
// the row that will follow.  weight: [channels, width].
void causal_conv(ThreadTeam& team, MatrixView x, std::span<const float> weight, std::span<const float> state,
                 std::span<float> next_state);

// The delta rule for each value head h of shape, with q and k those of its key head, both divided by their
// Euclidean length √(Σ x² + eps):
//   α = e^(a[h] · softplus(alpha logit + dt_bias[h]))        β = sigmoid(beta logit)
//   S ← α·S + β·(v − α·S·k)·kᵀ        out[t][h] = S·q / √key_dim        (eq. 10)
// qkv: [n_tokens, shape.channels()]: queries, keys, values; gates: [n_tokens, 2 · n_value_heads], columns as
// shape says; a, dt_bias: [n_value_heads] (a is negative); state, next_state: n_value_heads × [value_dim,
// key_dim]; out: [n_tokens, n_value_heads · value_dim]. qkv's queries and keys are normalised in place.
void delta_rule(ThreadTeam& team, MatrixView out, MatrixView qkv, ConstMatrixView gates,
                std::span<const float> a, std::span<const float> dt_bias, float eps,
                std::span<const float> state, std::span<float> next_state, const DeltaNetShape& shape);

}  // namespace greenroom::cpu
