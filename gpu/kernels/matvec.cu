// Matrix · vector, for 1 to 8 vectors:  out[v][r] = Σ_k w[r][k] · x[v][k], for a stack of matrices (heads).
//
// A block is four warps; a team of lanes (dot_rows.cuh) computes two rows for all vectors, so a warp has two
// rows, or four or eight short ones. Grid: x the rows, y the heads. Each weight is read from memory once and
// each vector by every team, from the L1 cache: with two rows per team 40 bytes for every 32 weights, where
// those are 17 to 34. One vector is bound by memory, eight, which take 16
// instructions of four products for 4 weights, by those: counted, not measured.
//
// Tolerance against float32 activations: Σ|w| · (the largest |x| of each 32) / 65278 from their rounding,
// plus that of float32 sums; tests/gpu/matvec_test.cpp. In float32 only the latter.

#include "gpu/kernels/matvec.h"

#include "gpu/device.cuh"
#include "gpu/kernels/matvec_kernel.cuh"
#include "gpu/launch_check.h"

namespace greenroom::gpu {

bool takes_integers(quant::Type type, Activations activations) noexcept {
    return activations != Activations::f32 && type != quant::Type::F32 && type != quant::Type::F16 &&
           type != quant::Type::BF16;
}

std::int64_t matvec_scratch_bytes(quant::Type type, Activations activations, std::int64_t n_vectors,
                                  std::int64_t n_in, std::int64_t n_heads) noexcept {
    return takes_integers(type, activations) ? activation_bytes(n_vectors * n_heads, n_in) : 0;
}

void matvec(Stream& stream, MatrixView out, const TensorView& w, ConstMatrixView x, Activations activations,
            std::span<std::byte> scratch) {
    GR_LAUNCH_CHECK(x.n_cols == w.row_values() && out.n_cols == w.shape[1] && w.shape[2] == 1);
    matvec_heads(stream, out, 0, w, x, 0, activations, scratch);
}

void matvec_heads(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                  ConstMatrixView x, std::int64_t x_stride, Activations activations,
                  std::span<std::byte> scratch) {
    const std::int64_t n_heads = w.shape[2];
    const std::int64_t n_in = w.row_values();
    GR_LAUNCH_CHECK(x.n_rows == out.n_rows && x.n_cols >= (n_heads - 1) * x_stride + n_in);
    GR_LAUNCH_CHECK(out.n_cols >= (n_heads - 1) * out_stride + w.shape[1]);
    GR_LAUNCH_CHECK(reinterpret_cast<std::uintptr_t>(w.data) % matrix_alignment(w.type) == 0);
    MatvecArguments arguments{w, out, out_stride, n_heads, {}, x, x_stride};
    const bool integers = takes_integers(w.type, activations);
    if (integers) {
        GR_LAUNCH_CHECK(static_cast<std::int64_t>(scratch.size()) >=
                        activation_bytes(x.n_rows * n_heads, n_in));
        arguments.integers = {reinterpret_cast<ActivationBlock*>(scratch.data()),
                              n_in / ActivationBlock::kValues};
        quantize_rows(stream, arguments.integers, x, n_heads, n_in, x_stride);
    }
    GR_LAUNCH_CHECK(integers ? launch_matvec_integer(stream, arguments)
                             : launch_matvec_float(stream, arguments));
}

}  // namespace greenroom::gpu
