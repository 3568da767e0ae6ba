// Q5_1: 32 values in 24 bytes; w = d · q + m.
//
//     d, m    float16
//     qh      the fifth bit of q: bit j is that of value j
//     qs[16]  nibbles, the low ones first

#include "cpu/dot_fifth_bit.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct Q5_1 {
    using Block = quant::BlockQ5_1;
    static constexpr int kGroup = 32;
    static constexpr bool kFloatScales = true;
    static constexpr int kOffset = 0;
    static constexpr int kLargest = 31;
    static constexpr bool kHasMin = true;

    GR_AVX2_INLINE static __m256i unit_avx2(const Block* block, int i) noexcept {
        return _mm256_or_si256(nibbles_avx2(block[i].qs), fifth_bits_avx2(block[i].qh));
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        nibbles_of_blocks_avx512(block, w);
        GR_UNROLL
        for (int h = 0; h < 2; ++h) add_fifth_bits_avx512(block + 4 * h, w + 2 * h);
    }

    GR_AVX2_INLINE static __m256 scales(const Block* block) noexcept {
        return gather_halves(block, offsetof(Block, d));
    }
    GR_AVX2_INLINE static __m256 minimums(const Block* block) noexcept {
        return gather_halves(block, offsetof(Block, m));
    }

    GR_AVX512_INLINE static void scales_of_four_avx512(const Block* const* chunks, __m512* scales) noexcept {
        halves_of_four_avx512<offsetof(Block, d)>(chunks, scales);
    }
    GR_AVX512_INLINE static void minimums_of_four_avx512(const Block* const* chunks,
                                                         __m512* minimums) noexcept {
        halves_of_four_avx512<offsetof(Block, m)>(chunks, minimums);
    }
};

}  // namespace

constinit const QuantDots kDotQ5_1 = quant_dots<Q5_1>();

}  // namespace greenroom::cpu
