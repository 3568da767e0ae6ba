#pragma once

// Products of weight matrices with few vectors, and those with one matrix per head. Formulas and shapes are
// those of cpu/matmul.h. gemm.h is for many vectors.
//
// With integer activations (of either kind) a quantized matrix meets quantized vectors (quantize.h); with
// f32, and for F32, F16 and BF16 matrices, weights are decoded and multiplied in float32. All sums are
// float32, in an order that depends on the row's length and type only: a result's bits do not depend on the
// other vectors.
//
// Launchers only enqueue; views are of device memory. A weight matrix begins at a multiple of 16 bytes (a
// part of a stack: of its rows'), and up to 3 readable bytes follow it.

#include "gpu/kernels/quantize.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"
#include "quant/base/tensor_view.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;

// Does a product with this type quantize its vectors?
bool takes_integers(quant::Type type, Activations activations) noexcept;

// Bytes of scratch for the vectors of a product; 0 where they stay float32.
std::int64_t matvec_scratch_bytes(quant::Type type, Activations activations, std::int64_t n_vectors,
                                  std::int64_t n_in, std::int64_t n_heads = 1) noexcept;

// out[t][r] = Σ_k w[r][k] · x[t][k].  w: [n_out rows, n_in] of any weight type; x: [n_tokens, n_in]; out:
// [n_tokens, n_out]. Reads the matrix once per 8 tokens (4 where a quantized matrix is decoded): bound by
// memory for one, by arithmetic for eight. scratch: matvec_scratch_bytes() at a multiple of 16, overwritten.
void matvec(Stream& stream, MatrixView out, const TensorView& w, ConstMatrixView x, Activations activations,
            std::span<std::byte> scratch);

// The same for a stack of matrices, one per head: out[t][h·out_stride + r] = Σ_k w[h][r][k] · x[t][h·x_stride
// + k].  w: n_heads matrices [n_out rows, n_in].
void matvec_heads(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                  ConstMatrixView x, std::int64_t x_stride, Activations activations,
                  std::span<std::byte> scratch);

// The same with each matrix transposed, always in float32, for any number of tokens:
// out[t][h·out_stride + i] = Σ_r w[h][r][i] · x[t][h·x_stride + r].  w: n_heads matrices [n_in rows, n_out].
// Decodes the matrices once per 4 tokens.
void matvec_heads_transposed(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                             ConstMatrixView x, std::int64_t x_stride);

}  // namespace greenroom::gpu
