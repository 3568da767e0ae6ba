// The products of matvec.cu in float32, one kernel per type and number of vectors. Quantized types take up to
// four vectors at a time: this is how results are checked, not how they are made fast.

#include "gpu/kernels/matvec_kernel.cuh"

namespace greenroom::gpu {

bool launch_matvec_float(Stream& stream, const MatvecArguments& a) {
    const auto vectors_from = [&a](std::int64_t t) {
        const ConstMatrixView x{a.x.data + t * a.x.stride, a.x.n_rows - t, a.x.n_cols, a.x.stride};
        return FloatVectors{x, a.x_head_stride};
    };
    return with_type(a.w.type, [&](auto tag) {
        using T = typename decltype(tag)::Type;
        launch_matvec<FloatDot<T>, kIsQuantized<T> ? 4 : 8>(stream, a, vectors_from);
    });
}

}  // namespace greenroom::gpu
