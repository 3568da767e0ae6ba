#include "gpu/kernels/matmul.h"

#include "gpu/kernels/gemm.h"
#include "gpu/kernels/matvec.h"

#include <algorithm>

namespace greenroom::gpu {

std::int64_t matmul_scratch_bytes(quant::Type type, Activations activations, std::int64_t n_vectors,
                                  std::int64_t n_in, std::int64_t n_heads) noexcept {
    const std::int64_t few =
        matvec_scratch_bytes(type, activations, std::min(n_vectors, kMaxMatvecVectors), n_in, n_heads);
    if (n_vectors <= kMaxMatvecVectors) return few;
    return std::max(few, gemm_scratch_bytes(type, activations, n_vectors, n_in, n_heads));
}

void matmul(Stream& stream, MatrixView out, const TensorView& w, ConstMatrixView x, Activations activations,
            std::span<std::byte> scratch) {
    (x.n_rows <= kMaxMatvecVectors ? matvec : gemm)(stream, out, w, x, activations, scratch);
}

void matmul_heads(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                  ConstMatrixView x, std::int64_t x_stride, Activations activations,
                  std::span<std::byte> scratch) {
    (x.n_rows <= kMaxMatvecVectors ? matvec_heads : gemm_heads)(stream, out, out_stride, w, x, x_stride,
                                                                activations, scratch);
}

void matmul_heads_transposed(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                             ConstMatrixView x, std::int64_t x_stride, Activations activations,
                             std::span<std::byte> scratch) {
    if (x.n_rows <= kMaxMatvecVectors || !takes_halves(w.type, activations))
        matvec_heads_transposed(stream, out, out_stride, w, x, x_stride);
    else
        gemm_heads_transposed(stream, out, out_stride, w, x, x_stride, scratch);
}

}  // namespace greenroom::gpu
