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

    GR_AVX2_INLINE static __m256i unit_avx2(const Block* block, int i) noexcept {
        const __m256i q = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block[i].qs));
        return _mm256_xor_si256(q, _mm256_set1_epi8(-128));  // + 128 as an unsigned byte
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            const __m512i low = two_blocks(block + 4 * h);
            const __m512i high = two_blocks(block + 4 * h + 2);
            w[2 * h] = _mm512_xor_si512(_mm512_shuffle_i64x2(low, high, 0x88), _mm512_set1_epi8(-128));
            w[2 * h + 1] = _mm512_xor_si512(_mm512_shuffle_i64x2(low, high, 0xdd), _mm512_set1_epi8(-128));
        }
    }

    GR_AVX2_INLINE static __m256 scales(const Block* block) noexcept {
        return gather_halves(block, offsetof(Block, d));
    }

    GR_AVX512_INLINE static void scales_of_four_avx512(const Block* const* chunks, __m512* scales) noexcept {
        halves_of_four_avx512<offsetof(Block, d)>(chunks, scales);
    }

  private:
    GR_AVX512_INLINE static __m512i two_blocks(const Block* block) noexcept {
        const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block[0].qs));
        const __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block[1].qs));
        return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
    }
};

}  // namespace

constinit const QuantDots kDotQ8_0 = quant_dots<Q8_0>();

}  // namespace greenroom::cpu
