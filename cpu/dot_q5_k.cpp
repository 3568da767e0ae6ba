// Q5_K: 256 values in 176 bytes, 8 groups of 32; w = d · scale · q − dmin · min.
//
//     d, dmin     float16
//     scales[12]  a scale and a min of 6 bits per group, see dot_k_scales.h
//     qh[32]      the fifth bit of value j of group g is bit g of byte j
//     qs[128]     nibbles: bytes 32c … 32c + 31 hold group 2c in the low, group 2c + 1 in the high ones

#include "cpu/dot_k_scales.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct Q5K {
    using Block = quant::BlockQ5K;
    static constexpr int kGroup = 32;
    static constexpr bool kFloatScales = false;
    static constexpr int kOffset = 0;
    static constexpr int kLargest = 31;
    static constexpr int kLargestScale = 63;
    static constexpr bool kHasMin = true;

    GR_AVX2_INLINE static void weights_avx2(const Block* block, __m256i* w) noexcept {
        const __m256i nibble = _mm256_set1_epi8(0xf);
        const __m256i qh = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block->qh));
        GR_UNROLL
        for (int c = 0; c < 4; ++c) {
            const __m256i qs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block->qs + 32 * c));
            w[2 * c] = _mm256_or_si256(_mm256_and_si256(qs, nibble), move_bit_avx2(qh, 2 * c, 4));
            w[2 * c + 1] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(qs, 4), nibble),
                                           move_bit_avx2(qh, 2 * c + 1, 4));
        }
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        const __m512i nibble = _mm512_set1_epi8(0xf);
        const __m512i shift = by_half_epi16(0, 4);
        const __m512i qh = twice_avx512(block->qh);
        GR_UNROLL
        for (int c = 0; c < 4; ++c) {
            const __m512i low =
                _mm512_and_si512(_mm512_srlv_epi16(twice_avx512(block->qs + 32 * c), shift), nibble);
            // Rotated right by g − 4 (modulo 32) bit g of every byte stands in bit 4.
            const __m512i fifth = _mm512_rorv_epi32(qh, by_half_epi32((2 * c + 28) % 32, (2 * c + 29) % 32));
            w[c] = merge_bits_avx512(low, fifth, _mm512_set1_epi8(0x10));
        }
    }

    GR_AVX512_INLINE static void pairs_avx512(const Block* block, __m512i* w) noexcept {
        const __m512i qh = twice_avx512(block->qh);
        GR_UNROLL
        for (int h = 0; h < 2; ++h) nibbles_avx512(_mm512_loadu_si512(block->qs + 64 * h), w + 2 * h);
        GR_UNROLL
        for (int i = 0; i < 4; ++i) {
            const int group = 4 * (i / 2) + i % 2;  // and the next but one
            const __m512i fifth = _mm512_rorv_epi32(qh, by_half_epi32((group + 28) % 32, (group + 30) % 32));
            w[i] = merge_bits_avx512(w[i], fifth, _mm512_set1_epi8(0x10));
        }
    }

    static std::uint16_t factor(const Block* block) noexcept { return block->d; }
    static std::uint16_t minimum_factor(const Block* block) noexcept { return block->dmin; }
    GR_AVX2_INLINE static __m128i scales(const Block* block) noexcept { return k_scales(block->scales); }
    GR_AVX2_INLINE static __m128i minimums(const Block* block) noexcept { return k_minimums(block->scales); }
};

}  // namespace

constinit const QuantDots kDotQ5K = quant_dots<Q5K>();

}  // namespace greenroom::cpu
