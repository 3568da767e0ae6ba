#pragma once

// Products of weight matrices with any number of vectors: matvec.h for few, gemm.h for many. Formulas, shapes
// and preconditions are those of matvec.h.

#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"
#include "quant/base/tensor_view.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;

// Up to so many vectors matvec reads a matrix once and, by a count of its instructions, computes no longer
// than it waits for memory. Where gemm() is faster is not measured.
inline constexpr std::int64_t kMaxMatvecVectors = 8;

// Scratch for a product with up to n_vectors.
std::int64_t matmul_scratch_bytes(quant::Type type, Activations activations, std::int64_t n_vectors,
                                  std::int64_t n_in, std::int64_t n_heads = 1) noexcept;

void matmul(Stream& stream, MatrixView out, const TensorView& w, ConstMatrixView x, Activations activations,
            std::span<std::byte> scratch);

void matmul_heads(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                  ConstMatrixView x, std::int64_t x_stride, Activations activations,
                  std::span<std::byte> scratch);

// Each matrix transposed: in float32 for few vectors, for Activations::f32 and for F32; else in half floats.
// Scratch: matmul_scratch_bytes() with w's number of rows, n_in, not its row_values().
void matmul_heads_transposed(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                             ConstMatrixView x, std::int64_t x_stride, Activations activations,
                             std::span<std::byte> scratch);

}  // namespace greenroom::gpu
