#include "cpu/attention_kernels.h"

#include "cpu/attention_simd.h"

namespace greenroom::cpu {
namespace {

constexpr AttentionKernels kScalar{pack_keys_scalar, score_scalar, weigh_scalar, accumulate_scalar};
constexpr AttentionKernels kAvx2{pack_keys_avx2, score_avx2, weigh_avx2, accumulate_avx2};
constexpr AttentionKernels kAvx512{pack_keys_avx512, score_avx512, weigh_avx512, accumulate_avx512};

}  // namespace

const AttentionKernels& attention_kernels(Isa isa) noexcept {
    switch (vectors_of(isa)) {
        case Isa::avx512:
            return kAvx512;
        case Isa::avx2:
            return kAvx2;
        default:
            return kScalar;
    }
}

}  // namespace greenroom::cpu
