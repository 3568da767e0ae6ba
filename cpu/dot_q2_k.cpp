// Q2_K: 256 values in 84 bytes, 16 groups of 16; w = d · scale · q − dmin · min.
//
//     scales[16]  per group the scale in the low and the min in the high nibble
//     qs[64]      bits 2p and 2p + 1 of each half's 32 bytes belong to its values 32p … 32p + 31
//     d, dmin     float16

#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct Q2K {
    using Block = quant::BlockQ2K;
    static constexpr int kGroup = 16;
    static constexpr bool kFloatScales = false;
    static constexpr int kOffset = 0;
    static constexpr int kLargest = 3;
    static constexpr int kLargestScale = 15;
    static constexpr bool kHasMin = true;

    GR_AVX2_INLINE static void weights_avx2(const Block* block, __m256i* w) noexcept {
        const __m256i two_bits = _mm256_set1_epi8(3);
        GR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const __m256i qs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block->qs + 32 * half));
            GR_UNROLL
            for (int p = 0; p < 4; ++p)
                w[4 * half + p] = _mm256_and_si256(_mm256_srli_epi16(qs, 2 * p), two_bits);
        }
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        const __m512i two_bits = _mm512_set1_epi8(3);
        GR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const __m512i qs = twice_avx512(block->qs + 32 * half);
            w[2 * half] = _mm512_and_si512(_mm512_srlv_epi16(qs, by_half_epi16(0, 2)), two_bits);
            w[2 * half + 1] = _mm512_and_si512(_mm512_srlv_epi16(qs, by_half_epi16(4, 6)), two_bits);
        }
    }

    static std::uint16_t factor(const Block* block) noexcept { return block->d; }
    static std::uint16_t minimum_factor(const Block* block) noexcept { return block->dmin; }
    GR_AVX2_INLINE static __m256i scales(const Block* block) noexcept {
        return _mm256_cvtepu8_epi16(_mm_and_si128(numbers(block), _mm_set1_epi8(0xf)));
    }
    GR_AVX2_INLINE static __m256i minimums(const Block* block) noexcept {
        return _mm256_cvtepu8_epi16(_mm_and_si128(_mm_srli_epi16(numbers(block), 4), _mm_set1_epi8(0xf)));
    }

  private:
    GR_AVX2_INLINE static __m128i numbers(const Block* block) noexcept {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(block->scales));
    }
};

}  // namespace

constinit const QuantDots kDotQ2K = quant_dots<Q2K>();

}  // namespace greenroom::cpu
