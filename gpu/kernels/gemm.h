#pragma once

// Products of weight matrices with many vectors. Formulas, shapes and preconditions are those of matvec.h.
//
// With integer activations and any type but F32, weights and vectors are rounded to half floats and
// multiplied by the tensor cores with float32 sums: an output is off by some 2^-11 of a typical product of
// its sum, not of the sum of their magnitudes, since roundings cancel (2^-10 · Σ|w·x| at most). Else
// everything is float32. Launchers only enqueue.

#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"
#include "quant/base/tensor_view.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;

// Does a product with this type round to half floats?
bool takes_halves(quant::Type type, Activations activations) noexcept;

std::int64_t gemm_scratch_bytes(quant::Type type, Activations activations, std::int64_t n_vectors,
                                std::int64_t n_in, std::int64_t n_heads = 1) noexcept;

// out[t][r] = Σ_k w[r][k] · x[t][k].  Decodes the matrix once per 64 tokens: bound by the tensor cores, or by
// float32 arithmetic. scratch: gemm_scratch_bytes() at a multiple of 16, overwritten.
void gemm(Stream& stream, MatrixView out, const TensorView& w, ConstMatrixView x, Activations activations,
          std::span<std::byte> scratch);

// out[t][h·out_stride + r] = Σ_k w[h][r][k] · x[t][h·x_stride + k].
void gemm_heads(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                ConstMatrixView x, std::int64_t x_stride, Activations activations,
                std::span<std::byte> scratch);

// The same with each matrix transposed, in half floats (a type that takes_halves()):
// out[t][h·out_stride + i] = Σ_r w[h][r][i] · x[t][h·x_stride + r].  w: n_heads matrices [n_in rows, n_out].
void gemm_heads_transposed(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                           ConstMatrixView x, std::int64_t x_stride, std::span<std::byte> scratch);

}  // namespace greenroom::gpu
