#pragma once

// Products of quantized matrices with float32 activations. Activations stay in float32; each output is one
// dot product whose order of summation is fixed, so it depends neither on the number of threads nor on the
// other tokens of the batch.

#include "cpu/buffer.h"
#include "cpu/parallel.h"
#include "quant/base/matrix_view.h"
#include "quant/base/tensor_view.h"

#include <cstdint>
#include <span>

namespace greenroom::cpu {

// out[t] = row ids[t] of the table, decoded.  table: [n_vocab rows, d_model]; out: [n_tokens, d_model].
void embed(MatrixView out, const TensorView& table, std::span<const std::int32_t> ids) noexcept;

// out[t][r] = Σ_k w[r][k] · x[t][k].  w: [n_out rows, n_in]; x: [n_tokens, n_in]; out: [n_tokens, n_out].
// Scratch: tile_floats(n_in) per thread.
void matmul(ThreadTeam& team, const Scratch& scratch, MatrixView out, const TensorView& w, ConstMatrixView x);

// The same for a stack of matrices, one per head: out[t][h·out_stride + r] = Σ_k w[h][r][k] · x[t][h·x_stride
// + k]. w: n_heads matrices [n_out rows, n_in]. The strides are those from head to head within a row.
void matmul_heads(ThreadTeam& team, const Scratch& scratch, MatrixView out, std::int64_t out_stride,
                  const TensorView& w, ConstMatrixView x, std::int64_t x_stride);

}  // namespace greenroom::cpu
