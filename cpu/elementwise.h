#pragma once

// The small operations between the products: norms, rotary embedding, activations, sums. All on float32, row
// by row.

#include "cpu/parallel.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <cstdint>
#include <span>

namespace greenroom::cpu {

// out[t] = x[t] / sqrt(mean(x[t]²) + eps) · weight  (Zhang & Sennrich 2019, arXiv:1910.07467).
// weight: n_cols values, or nullptr for ones. out may be x.
void rms_norm(ThreadTeam& team, MatrixView out, ConstMatrixView x, const float* weight, float eps);

// out[t] = (x[t] - mean) / sqrt(variance + eps) · weight + bias  (Ba et al. 2016, arXiv:1607.06450).
// weight, bias: n_cols values. out may be x.
void layer_norm(ThreadTeam& team, MatrixView out, ConstMatrixView x, const float* weight, const float* bias,
                float eps);

// Angles of the rotary embedding (Su et al. 2021, arXiv:2104.09864, eq. 34): out[t] = cos θ_0, sin θ_0, cos
// θ_1, … with θ_i = positions[t] · frequencies[i], each multiplied by `magnitude` (YaRN's attention factor,
// else 1). out: [n_tokens, 2 · frequencies.size()].
void rope_angles(ThreadTeam& team, MatrixView out, std::span<const std::int32_t> positions,
                 std::span<const float> frequencies, float magnitude);

// Rotates angles.n_cols values in each of n_heads heads of a row: head h is read at x + h · x_stride and
// written at out + h · out_stride. In place when both are the same.
void rope(ThreadTeam& team, MatrixView out, std::int64_t out_stride, ConstMatrixView x, std::int64_t x_stride,
          int n_heads, ConstMatrixView angles, RopePairing pairing);

// gate ← the two halves of a gated network joined.
void glu(ThreadTeam& team, MatrixView gate, ConstMatrixView up, Glu kind);

// x[t] ← x[t] + bias, for every row.  bias: n_cols values.
void add_bias(ThreadTeam& team, MatrixView x, const float* bias);

// x ← factor · x.
void scale(ThreadTeam& team, MatrixView x, float factor);

// x[t] ← factors[t] · x[t].
void scale_rows(ThreadTeam& team, MatrixView x, std::span<const float> factors);

// x[t] ← sigmoid(gate[t]) · x[t].  gate: one column.
void gate_rows(ThreadTeam& team, MatrixView x, ConstMatrixView gate);

// x ← sigmoid(logits) · x, value by value.
void gate(ThreadTeam& team, MatrixView x, ConstMatrixView logits);

// x ← x + y.
void add(ThreadTeam& team, MatrixView x, ConstMatrixView y);

// to ← from, row by row.
void copy(MatrixView to, ConstMatrixView from) noexcept;

}  // namespace greenroom::cpu
