// IQ1_S: 256 values in 50 bytes, 8 groups of 32; w = d / 8 · (2q + 1) · (8 · value of a point of 8 ± 1).
//
//     d       float16
//     qs[32]  the low eight bits of where a point stands in quant::kIq1Grid
//     qh[8]   words, per group: four times three more bits, q in bits 12 to 14, and whether it is − 1

#include "cpu/dot_iq_points.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct IQ1S : TernaryFormat<IQ1S, quant::BlockIQ1S> {
    GR_AVX2_INLINE static void weights_avx2(const Block* block, __m256i* w) noexcept {
        alignas(32) std::uint16_t at[32];
        find_points(block, at);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) {
            const bool is_minus = (block->qh[i] & 0x8000) != 0;
            w[i] = ternary_avx2(points_avx2(quant::kIq1Grid.data(), at + 4 * i),
                                _mm256_set1_epi8(is_minus ? kOffset - 1 : kOffset + 1));
        }
    }

    static std::uint16_t factor(const Block* block) noexcept { return block->d; }
    GR_AVX2_INLINE static __m256i scales(const Block* block) noexcept {
        const __m256i q = _mm256_srli_epi32(_mm256_cvtepu16_epi32(words(block)), 12);
        return odd_scales_of_32_avx2(_mm256_and_si256(q, _mm256_set1_epi32(7)));
    }

  private:
    GR_AVX2_INLINE static __m128i words(const Block* block) noexcept {
        const auto* qh = reinterpret_cast<const std::byte*>(block) + offsetof(Block, qh);
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(qh));
    }

    GR_AVX2_INLINE static void find_points(const Block* block, std::uint16_t* at) noexcept {
        GR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const __m256i low = _mm256_cvtepu8_epi16(
                _mm_loadu_si128(reinterpret_cast<const __m128i*>(block->qs + 16 * half)));
            // The word of a group to each of its four points.
            const __m256i source =
                _mm256_add_epi8(_mm256_setr_epi64x(0x0100'0100'0100'0100, 0x0302'0302'0302'0302,
                                                   0x0504'0504'0504'0504, 0x0706'0706'0706'0706),
                                _mm256_set1_epi8(static_cast<char>(8 * half)));
            const __m256i of_points = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(words(block)), source);
            const __m256i high = _mm256_slli_epi16(triples_avx2(of_points), 8);
            _mm256_store_si256(reinterpret_cast<__m256i*>(at + 16 * half), _mm256_or_si256(low, high));
        }
    }
};

}  // namespace

constinit const QuantDots kDotIQ1S = quant_dots<IQ1S>();

}  // namespace greenroom::cpu
