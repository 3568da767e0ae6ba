// expert_rows.cuh in float32. Quantized types take up to four calls at a time: this is how results are
// checked, not how they are made fast.

#include "gpu/kernels/expert_rows.cuh"

namespace greenroom::gpu {

bool launch_expert_rows_float(Stream& stream, const ExpertLaunch& l) {
    return with_type(l.type, [&](auto tag) {
        using T = typename decltype(tag)::Type;
        launch_expert_rows<FloatDot<T>, kIsQuantized<T> ? 4 : 8>(stream, l, FloatVectors{l.floats, 0});
    });
}

}  // namespace greenroom::gpu
