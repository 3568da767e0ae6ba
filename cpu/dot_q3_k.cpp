// Q3_K: 256 values in 110 bytes, 16 groups of 16; w = d · (scale − 32) · (q − 4).
//
//     hmask[32]   the third bit of q: bit i of the 32 bytes belongs to values 32i … 32i + 31
//     qs[64]      the low two: bits 2p and 2p + 1 of each half's 32 bytes belong to its values 32p … 32p + 31
//     scales[12]  the low four bits of the scales in the nibbles of 8 bytes, groups 0–7 in the low ones; the
//                 high two in 4 bytes, group 4i + j in bits 2i and 2i + 1 of byte j
//     d           float16

#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct Q3K {
    using Block = quant::BlockQ3K;
    static constexpr int kGroup = 16;
    static constexpr bool kFloatScales = false;
    static constexpr int kOffset = 4;
    static constexpr int kLargest = 7;
    static constexpr bool kHasMin = false;

    GR_AVX2_INLINE static void weights_avx2(const Block* block, __m256i* w) noexcept {
        const __m256i two_bits = _mm256_set1_epi8(3);
        const __m256i hmask = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block->hmask));
        GR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const __m256i qs = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block->qs + 32 * half));
            GR_UNROLL
            for (int p = 0; p < 4; ++p)
                w[4 * half + p] = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(qs, 2 * p), two_bits),
                                                  move_bit_avx2(hmask, 4 * half + p, 2));
        }
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        const __m512i two_bits = _mm512_set1_epi8(3);
        const __m512i hmask = twice_avx512(block->hmask);
        GR_UNROLL
        for (int i = 0; i < 4; ++i) {
            const __m512i qs = twice_avx512(block->qs + 32 * (i / 2));
            const auto shift = static_cast<short>(4 * (i % 2));
            const __m512i low = _mm512_and_si512(
                _mm512_srlv_epi16(qs, by_half_epi16(shift, static_cast<short>(shift + 2))), two_bits);
            // Rotated right by n − 2 (modulo 32) bit n of every byte stands in bit 2.
            const __m512i third =
                _mm512_rorv_epi32(hmask, by_half_epi32((2 * i + 30) % 32, (2 * i + 31) % 32));
            w[i] = merge_bits_avx512(low, third, _mm512_set1_epi8(4));
        }
    }

    static std::uint16_t factor(const Block* block) noexcept { return block->d; }
    GR_AVX2_INLINE static __m256i scales(const Block* block) noexcept {
        std::uint64_t low = 0;
        std::uint32_t high = 0;
        std::memcpy(&low, block->scales, sizeof low);
        std::memcpy(&high, block->scales + 8, sizeof high);
        // Eight scales at a time, as the bytes of a 64-bit word.
        constexpr std::uint64_t kNibbles = 0x0f0f0f0f0f0f0f0fU;
        constexpr std::uint64_t kPairs = 0x3030303030303030U;
        const std::uint64_t first =
            (low & kNibbles) | ((std::uint64_t{high} << 4 | std::uint64_t{high} << 34) & kPairs);
        const std::uint64_t second =
            (low >> 4 & kNibbles) | ((std::uint64_t{high} | std::uint64_t{high >> 2} << 32) & kPairs);
        const __m128i bytes = _mm_set_epi64x(static_cast<long long>(second), static_cast<long long>(first));
        return _mm256_sub_epi16(_mm256_cvtepu8_epi16(bytes), _mm256_set1_epi16(32));
    }
};

}  // namespace

constinit const QuantDots kDotQ3K = quant_dots<Q3K>();

}  // namespace greenroom::cpu
