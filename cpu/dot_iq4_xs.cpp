// IQ4_XS: 256 values in 136 bytes, 8 groups of 32; w = d · (scale − 32) · level[nibble] with the sixteen
// levels of quant::kIq4NlValues.
//
//     d            float16
//     scales_h     the high two bits of the scales: bits 2g and 2g + 1 for group g
//     scales_l[4]  the low four bits: nibble g, the low one of a byte first
//     qs[128]      per group 16 bytes of nibbles, the low ones first

#include "cpu/dot_iq4_levels.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct IQ4XS {
    using Block = quant::BlockIQ4XS;
    static constexpr int kGroup = 32;
    static constexpr bool kFloatScales = true;
    static constexpr int kOffset = 128;
    static constexpr int kLargest = 241;
    static constexpr bool kHasMin = false;

    GR_AVX2_INLINE static __m256i unit_avx2(const Block* block, int i) noexcept {
        return iq4_levels_avx2(nibbles_avx2(block->qs + 16 * i));
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        GR_UNROLL
        for (int h = 0; h < 2; ++h) nibbles_avx512(_mm512_loadu_si512(block->qs + 64 * h), w + 2 * h);
        GR_UNROLL
        for (int i = 0; i < 4; ++i) w[i] = iq4_levels_avx512(w[i]);
    }

    GR_AVX512_INLINE static void weights_vbmi(const Block* block, __m512i* w) noexcept {
        const __m512i levels = _mm512_broadcast_i32x4(raised_iq4_levels());
        GR_UNROLL
        for (int h = 0; h < 2; ++h)
            look_up_nibbles_vbmi(levels, _mm512_loadu_si512(block->qs + 64 * h), w + 2 * h);
    }

    GR_AVX2_INLINE static __m256 scales(const Block* block) noexcept {
        int low_bits = 0;
        std::memcpy(&low_bits, block->scales_l, sizeof low_bits);
        const __m256i low = _mm256_and_si256(
            _mm256_srlv_epi32(_mm256_set1_epi32(low_bits), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28)),
            _mm256_set1_epi32(0xf));
        const __m256i high = _mm256_and_si256(  // shifted left by four, bits 2g and 2g + 1 stand in 4 and 5
            _mm256_srlv_epi32(_mm256_set1_epi32(block->scales_h << 4),
                              _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14)),
            _mm256_set1_epi32(0x30));
        const __m256i scale = _mm256_sub_epi32(_mm256_or_si256(low, high), _mm256_set1_epi32(32));
        return _mm256_mul_ps(_mm256_cvtepi32_ps(scale), _mm256_set1_ps(_cvtsh_ss(block->d)));
    }

    GR_AVX512_INLINE static void scales_of_four_avx512(const Block* const* chunks, __m512* scales) noexcept {
        // d and scales_h of chunk r, and scales_l, in lanes 4l + r.
        __m128i headers[4];
        GR_UNROLL
        for (int r = 0; r < 4; ++r) headers[r] = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(chunks[r]));
        const __m128i first = _mm_unpacklo_epi32(headers[0], headers[1]);
        const __m128i second = _mm_unpacklo_epi32(headers[2], headers[3]);
        const __m512i d_and_high = _mm512_broadcast_i32x4(_mm_unpacklo_epi64(first, second));
        const __m512i low_bits = _mm512_broadcast_i32x4(_mm_unpackhi_epi64(first, second));
        const __m512 d = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(d_and_high));
        const __m512i high_bits = _mm512_srli_epi32(d_and_high, 12);  // bits 2g and 2g + 1 in 4 and 5
        const __m512i l = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            const __m512i group = _mm512_add_epi32(l, _mm512_set1_epi32(4 * h));
            const __m512i low = _mm512_and_si512(_mm512_srlv_epi32(low_bits, _mm512_slli_epi32(group, 2)),
                                                 _mm512_set1_epi32(0xf));
            const __m512i high = _mm512_srlv_epi32(high_bits, _mm512_slli_epi32(group, 1));
            const __m512i scale = merge_bits_avx512(low, high, _mm512_set1_epi32(0x30));
            scales[h] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(scale, _mm512_set1_epi32(32))), d);
        }
    }
};

}  // namespace

constinit const QuantDots kDotIQ4XS = quant_dots<IQ4XS>();

}  // namespace greenroom::cpu
