// Q8_0: 32 values in 34 bytes, d (float16) and 32 signed bytes q; w = d · q.

#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct Q8_0 {
    using Block = quant::BlockQ8_0;
    static constexpr int kGroup = 32;
    static constexpr bool kFloatScales = true;
    static constexpr int kOffset = 128;
    static constexpr int kLargest = 255;
    static constexpr bool kHasMin = false;

    GR_AVX2_INLINE static void weights_avx2(const Block* block, __m256i* w) noexcept {
        GR_UNROLL
        for (int i = 0; i < 8; ++i) {
            const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block[i].qs));
            w[i] = _mm256_xor_si256(q, _mm256_set1_epi8(-128));  // + 128 as an unsigned byte
        }
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        GR_UNROLL
        for (int i = 0; i < 4; ++i) {
            const auto* low = reinterpret_cast<const __m256i*>(block[2 * i].qs);
            const auto* high = reinterpret_cast<const __m256i*>(block[2 * i + 1].qs);
            const __m512i q = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256(low)),
                                                 _mm256_loadu_si256(high), 1);
            w[i] = _mm512_xor_si512(q, _mm512_set1_epi8(-128));
        }
    }

    GR_AVX2_INLINE static __m256 scales(const Block* block) noexcept {
        return gather_halves(block, offsetof(Block, d));
    }
};

}  // namespace

constinit const QuantDots kDotQ8_0 = quant_dots<Q8_0>();

}  // namespace greenroom::cpu
