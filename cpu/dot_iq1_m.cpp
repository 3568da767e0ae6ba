// IQ1_M: 256 values in 56 bytes, 16 groups of 16; w = d / 8 · (2q + 1) · (8 · value of a point of 8 ± 1).
//
//     qs[32]     the low eight bits of where a point stands in quant::kIq1Grid
//     qh[16]     a nibble per point, the low one first: three more bits, and whether it is − 1
//     scales[4]  words: four times q, three bits each, and on top four bits of d, a float16

#include "cpu/dot_iq_points.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct IQ1M : TernaryFormat<IQ1M, quant::BlockIQ1M> {
    GR_AVX2_INLINE static void weights_avx2(const Block* block, __m256i* w) noexcept {
        const __m256i nibbles =
            nibbles_in_turn_avx2(_mm_loadu_si128(reinterpret_cast<const __m128i*>(block->qh)));
        alignas(32) std::uint16_t at[32];
        find_points(block, nibbles, at);
        const auto are_minus =
            static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_slli_epi16(nibbles, 4)));
        const __m256i bit = _mm256_setr_epi64x(1, 2, 4, 8);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) {
            const __m256i bits = _mm256_set1_epi64x(are_minus >> (4 * i));
            const __m256i is_minus = _mm256_cmpeq_epi64(_mm256_and_si256(bits, bit), bit);
            const __m256i raised = _mm256_add_epi8(_mm256_set1_epi8(kOffset + 1),
                                                   _mm256_and_si256(is_minus, _mm256_set1_epi8(-2)));
            w[i] = ternary_avx2(points_avx2(quant::kIq1Grid.data(), at + 4 * i), raised);
        }
    }

    static std::uint16_t factor(const Block* block) noexcept {
        int d = 0;
        for (int i = 0; i < 4; ++i) d |= (block->scales[i] >> 12) << (4 * i);
        return static_cast<std::uint16_t>(d);
    }
    GR_AVX2_INLINE static __m256i scales(const Block* block) noexcept {
        std::int64_t words = 0;
        std::memcpy(&words, reinterpret_cast<const std::byte*>(block) + offsetof(Block, scales),
                    sizeof words);
        // The word of 64 values to each of its four groups.
        const __m256i source = _mm256_setr_epi64x(0x0100'0100'0100'0100, 0x0302'0302'0302'0302,
                                                  0x0504'0504'0504'0504, 0x0706'0706'0706'0706);
        return odd_scales_avx2(triples_avx2(_mm256_shuffle_epi8(_mm256_set1_epi64x(words), source)));
    }

  private:
    GR_AVX2_INLINE static void find_points(const Block* block, __m256i nibbles, std::uint16_t* at) noexcept {
        GR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const __m256i low = _mm256_cvtepu8_epi16(
                _mm_loadu_si128(reinterpret_cast<const __m128i*>(block->qs + 16 * half)));
            const __m256i of_points = _mm256_cvtepu8_epi16(half == 0 ? _mm256_castsi256_si128(nibbles)
                                                                     : _mm256_extracti128_si256(nibbles, 1));
            const __m256i high = _mm256_slli_epi16(_mm256_and_si256(of_points, _mm256_set1_epi16(7)), 8);
            _mm256_store_si256(reinterpret_cast<__m256i*>(at + 16 * half), _mm256_or_si256(low, high));
        }
    }
};

}  // namespace

constinit const QuantDots kDotIQ1M = quant_dots<IQ1M>();

}  // namespace greenroom::cpu
