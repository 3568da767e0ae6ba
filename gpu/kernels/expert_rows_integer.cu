// expert_rows.cuh with vectors of integers.

#include "gpu/kernels/expert_rows.cuh"

namespace greenroom::gpu {

bool launch_expert_rows_integer(Stream& stream, const ExpertLaunch& l) {
    return with_quantized_type(l.type, [&](auto tag) {
        launch_expert_rows<IntegerDot<typename decltype(tag)::Type>, 8>(stream, l,
                                                                        IntegerVectors{l.integers, 1});
    });
}

}  // namespace greenroom::gpu
