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

    GR_AVX2_INLINE static void weights_avx2(const Block* block, __m256i* w) noexcept {
        GR_UNROLL
        for (int i = 0; i < 8; ++i) w[i] = iq4_levels_avx2(nibbles_avx2(block->qs + 16 * i));
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        GR_UNROLL
        for (int h = 0; h < 2; ++h) nibbles_avx512(_mm512_loadu_si512(block->qs + 64 * h), w + 2 * h);
        GR_UNROLL
        for (int i = 0; i < 4; ++i) w[i] = iq4_levels_avx512(w[i]);
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
};

}  // namespace

constinit const QuantDots kDotIQ4XS = quant_dots<IQ4XS>();

}  // namespace greenroom::cpu
