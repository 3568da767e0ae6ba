// Q6_K: 256 values in 210 bytes, 16 groups of 16; w = d · scale · (q − 32).
//
//     ql[128]     low four bits: of each half's 64 bytes the low nibbles are its first 64 values, the high
//                 nibbles its last 64
//     qh[64]      high two bits: bits 2p and 2p + 1 of each half's 32 bytes belong to its values 32p … 32p +
//     31 scales[16]  signed bytes d           float16

#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct Q6K {
    using Block = quant::BlockQ6K;
    static constexpr int kGroup = 16;
    static constexpr bool kFloatScales = false;
    static constexpr int kOffset = 32;
    static constexpr int kLargest = 63;
    static constexpr bool kHasMin = false;

    GR_AVX2_INLINE static void weights_avx2(const Block* block, __m256i* w) noexcept {
        const __m256i nibble = _mm256_set1_epi8(0x0f);
        const __m256i two_bits = _mm256_set1_epi8(0x30);
        GR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const auto* ql = reinterpret_cast<const __m256i*>(block->ql + 64 * half);
            const __m256i low0 = _mm256_loadu_si256(ql);
            const __m256i low1 = _mm256_loadu_si256(ql + 1);
            const __m256i qh = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block->qh + 32 * half));
            // The pair of bits goes to bits 4 and 5. What a shift of 16 bits brings in from the neighbour is
            // masked away.
            w[4 * half] = _mm256_or_si256(_mm256_and_si256(low0, nibble),
                                          _mm256_and_si256(_mm256_slli_epi16(qh, 4), two_bits));
            w[4 * half + 1] = _mm256_or_si256(_mm256_and_si256(low1, nibble),
                                              _mm256_and_si256(_mm256_slli_epi16(qh, 2), two_bits));
            w[4 * half + 2] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low0, 4), nibble),
                                              _mm256_and_si256(qh, two_bits));
            w[4 * half + 3] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low1, 4), nibble),
                                              _mm256_and_si256(_mm256_srli_epi16(qh, 2), two_bits));
        }
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        const __m512i nibble = _mm512_set1_epi8(0x0f);
        const __m512i two_bits = _mm512_set1_epi8(0x30);
        GR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const __m512i ql = _mm512_loadu_si512(block->ql + 64 * half);
            const __m512i qh = twice_avx512(block->qh + 32 * half);
            // Rotated left by 4, 2, 0 and −2 the pairs 0, 1, 2 and 3 stand in bits 4 and 5.
            w[2 * half] = merge_bits_avx512(_mm512_and_si512(ql, nibble),
                                            _mm512_rolv_epi32(qh, by_half_epi32(4, 2)), two_bits);
            w[2 * half + 1] = merge_bits_avx512(_mm512_and_si512(_mm512_srli_epi16(ql, 4), nibble),
                                                _mm512_rolv_epi32(qh, by_half_epi32(0, 30)), two_bits);
        }
    }

    static std::uint16_t factor(const Block* block) noexcept { return block->d; }
    GR_AVX2_INLINE static __m256i scales(const Block* block) noexcept {
        return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block->scales)));
    }
};

}  // namespace

constinit const QuantDots kDotQ6K = quant_dots<Q6K>();

}  // namespace greenroom::cpu
