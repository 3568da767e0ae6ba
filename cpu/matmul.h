#pragma once

// Products of weight matrices, as they stand in the file, with float32 activations. With a quantized matrix
// the activations are quantized first (quantize.h), unless the ActivationBuffer is
// empty; F32, F16 and BF16 matrices, and types without a kernel of their own (dot_quant.h), are decoded and
// multiplied in float32. Each output is one dot product whose order of summation is fixed, so it depends
// neither on the number of threads nor on the other tokens of the batch.

#include "cpu/buffer.h"
#include "cpu/parallel.h"
#include "cpu/quantize.h"
#include "quant/base/matrix_view.h"
#include "quant/base/product.h"
#include "quant/base/tensor_view.h"

#include <cstdint>
#include <initializer_list>
#include <span>

namespace greenroom::cpu {

// out[t] = row ids[t] of the table, decoded.  table: [n_vocab rows, d_model]; out: [n_tokens, d_model].
void embed(ThreadTeam& team, MatrixView out, const TensorView& table, std::span<const std::int32_t> ids);

// out[t][r] = Σ_k w[r][k] · x[t][k] of each product, whose rows are handed out together.
// w: [n_out rows, n_in]; x: [n_tokens, n_in]; out: [n_tokens, n_out].
// Scratch: tile_floats(n_in) per thread. Buffer: n_tokens · activation_blocks(n_in), or empty.
void matmul(ThreadTeam& team, const Scratch& scratch, const ActivationBuffer& buffer,
            std::initializer_list<Product> products, ConstMatrixView x);

// The same for a stack of matrices, one per head: out[t][h·out_stride + r] = Σ_k w[h][r][k] · x[t][h·x_stride
// + k]. w: n_heads matrices [n_out rows, n_in]. The strides are those from head to head within a row. Buffer:
// n_tokens · n_heads · activation_blocks(n_in), or empty.
void matmul_heads(ThreadTeam& team, const Scratch& scratch, const ActivationBuffer& buffer, MatrixView out,
                  std::int64_t out_stride, const TensorView& w, ConstMatrixView x, std::int64_t x_stride);

// The same with each matrix transposed, in float32:
// out[t][h·out_stride + i] = Σ_r w[h][r][i] · x[t][h·x_stride + r], r rising. w: n_heads matrices [n_in rows,
// n_out]. Scratch: n_out floats per thread.
void matmul_heads_transposed(ThreadTeam& team, const Scratch& scratch, MatrixView out,
                             std::int64_t out_stride, const TensorView& w, ConstMatrixView x,
                             std::int64_t x_stride);

}  // namespace greenroom::cpu
