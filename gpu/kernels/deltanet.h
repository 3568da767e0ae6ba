#pragma once

// Gated DeltaNet on the GPU: the formulas and shapes are those of cpu/delta_net.h. States are read from one
// place and written to another, so that a step that is given up leaves the old ones whole; the two may be the
// same. All in device memory; launchers only enqueue.

#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <span>

namespace greenroom::gpu {

class Stream;

inline constexpr int kMaxConvWidth = 16;
inline constexpr int kMaxDeltaKeyDim = 256;

// x[t][c] ← silu(Σ_j weight[c][j] · x[t - (width - 1) + j][c]), j < width <= kMaxConvWidth; rows before the
// first are `state`, [width - 1, channels], oldest first. next_state: those before the row that will follow.
// weight: [channels, width].
void causal_conv(Stream& stream, MatrixView x, std::span<const float> weight, std::span<const float> state,
                 std::span<float> next_state);

// The delta rule for each value head. qkv: [n_tokens, shape.channels()]; gates: [n_tokens, 2 ·
// n_value_heads]; a, dt_bias: [n_value_heads]; state, next_state: n_value_heads × [value_dim, key_dim]; out:
// [n_tokens, n_value_heads · value_dim]. qkv's queries and keys are normalised in place.
void delta_rule(Stream& stream, MatrixView out, MatrixView qkv, ConstMatrixView gates,
                std::span<const float> a, std::span<const float> dt_bias, float eps,
                std::span<const float> state, std::span<float> next_state, const DeltaNetShape& shape);

}  // namespace greenroom::gpu
