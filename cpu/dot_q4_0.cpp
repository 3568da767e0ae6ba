// Q4_0: 32 values in 18 bytes, d (float16) and 16 bytes of nibbles q, the low ones first; w = d · (q − 8).

#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct Q4_0 {
    using Block = quant::BlockQ4_0;
    static constexpr int kGroup = 32;
    static constexpr bool kFloatScales = true;
    static constexpr int kOffset = 8;
    static constexpr int kLargest = 15;
    static constexpr bool kHasMin = false;

    GR_AVX2_INLINE static __m256i unit_avx2(const Block* block, int i) noexcept {
        return nibbles_avx2(block[i].qs);
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        nibbles_of_blocks_avx512(block, w);
    }

    GR_AVX2_INLINE static __m256 scales(const Block* block) noexcept {
        return gather_halves(block, offsetof(Block, d));
    }

    GR_AVX512_INLINE static void scales_of_four_avx512(const Block* const* chunks, __m512* scales) noexcept {
        halves_of_four_avx512<offsetof(Block, d)>(chunks, scales);
    }
};

}  // namespace

constinit const QuantDots kDotQ4_0 = quant_dots<Q4_0>();

}  // namespace greenroom::cpu
