// The products of matvec.cu with vectors of integers, one kernel per quantized type and number of vectors.

#include "gpu/kernels/matvec_kernel.cuh"

namespace greenroom::gpu {

bool launch_matvec_integer(Stream& stream, const MatvecArguments& a) {
    const auto vectors_from = [&a](std::int64_t t) {
        return IntegerVectors{{a.integers.data + t * a.n_heads * a.integers.stride, a.integers.stride},
                              a.n_heads};
    };
    return with_quantized_type(a.w.type, [&](auto tag) {
        launch_matvec<IntegerDot<typename decltype(tag)::Type>, 8>(stream, a, vectors_from);
    });
}

}  // namespace greenroom::gpu
