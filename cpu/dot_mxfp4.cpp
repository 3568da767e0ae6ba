// MXFP4: 32 values in 17 bytes, e (E8M0) and 16 bytes of nibbles, the low ones first; w = 2^(e − 127) ·
// number[nibble] with the numbers of E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.

#include "cpu/dot_quant_simd.h"
#include "quant/iq_tables.h"

namespace greenroom::cpu {
namespace {

struct MXFP4 {
    using Block = quant::BlockMXFP4;
    static constexpr int kGroup = 32;
    static constexpr bool kFloatScales = true;
    static constexpr int kOffset = 12;
    static constexpr int kLargest = 24;
    static constexpr bool kHasMin = false;

    GR_AVX2_INLINE static __m256i unit_avx2(const Block* block, int i) noexcept {
        return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(raised_numbers()), nibbles_avx2(block[i].qs));
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        const __m512i numbers = _mm512_broadcast_i32x4(raised_numbers());
        nibbles_of_blocks_avx512(block, w);
        GR_UNROLL
        for (int i = 0; i < 4; ++i) w[i] = _mm512_shuffle_epi8(numbers, w[i]);
    }

    GR_AVX512_INLINE static void weights_vbmi(const Block* block, __m512i* w) noexcept {
        look_up_blocks_vbmi(_mm512_broadcast_i32x4(raised_numbers()), block, w);
    }

    // Half of 2^(e − 127), since the numbers are doubled: e as a float's exponent, and for e = 0, where that
    // would be zero, the denormal number itself.
    GR_AVX2_INLINE static __m256 scales(const Block* block) noexcept {
        std::uint64_t bytes = 0;
        GR_UNROLL
        for (int i = 0; i < 8; ++i) bytes |= std::uint64_t{block[i].e} << (8 * i);
        const __m256i e = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(static_cast<long long>(bytes)));
        const __m256i lowest = _mm256_set1_epi32(0x00400000);
        const __m256i powers = _mm256_max_epu32(_mm256_slli_epi32(e, 23), lowest);
        return _mm256_mul_ps(_mm256_castsi256_ps(powers), _mm256_set1_ps(0.5F));
    }

    GR_AVX512_INLINE static void scales_of_four_avx512(const Block* const* chunks, __m512* scales) noexcept {
        const __m512i lowest = _mm512_set1_epi32(0x00400000);
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            const __m512i e = headers_of_four_avx512(chunks, h);
            const __m512i powers = _mm512_max_epu32(_mm512_slli_epi32(e, 23), lowest);
            scales[h] = _mm512_mul_ps(_mm512_castsi512_ps(powers), _mm512_set1_ps(0.5F));
        }
    }

  private:
    // The doubled numbers, 12 too large so that none is negative.
    GR_AVX2_INLINE static __m128i raised_numbers() noexcept {
        const __m128i doubled = _mm_loadu_si128(reinterpret_cast<const __m128i*>(quant::kE2m1Doubled.data()));
        return _mm_add_epi8(doubled, _mm_set1_epi8(kOffset));
    }
};

}  // namespace

constinit const QuantDots kDotMXFP4 = quant_dots<MXFP4>();

}  // namespace greenroom::cpu
