// IQ2_XS: 256 values in 74 bytes, 16 groups of 16; w = d / 8 · (2q + 1) · ± value of a point of 8.
//
//     d          float16
//     qs[32]     words: nine bits, where a point stands in quant::kIq2XsGrid, and seven signs
//                (quant::kEvenSigns)
//     scales[8]  nibbles q, the low one first

#include "cpu/dot_iq_points.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct IQ2XS : SignedPointsFormat<IQ2XS, quant::BlockIQ2XS, 43> {
    static constexpr float kUnit = 0.125F;

    static const auto* grid() noexcept { return quant::kIq2XsGrid.data(); }
    GR_AVX2_INLINE static __m256i scales(const Block* block) noexcept {
        return odd_scales_of_nibbles_avx2(block->scales);
    }

    GR_AVX2_INLINE static __m256i words(const Block* block, int half) noexcept {
        const auto* qs = reinterpret_cast<const std::byte*>(block) + offsetof(Block, qs) + 32 * half;
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(qs));
    }
    GR_AVX2_INLINE static __m256i seven_signs(const Block* block) noexcept {
        const __m256i both =
            _mm256_packus_epi16(_mm256_srli_epi16(words(block, 0), 9), _mm256_srli_epi16(words(block, 1), 9));
        return _mm256_permute4x64_epi64(both, 0xd8);
    }

    struct Points {
        alignas(32) std::uint16_t at[32];
        Signs signs;
        GR_AVX2_INLINE explicit Points(const Block* block) noexcept
            : signs(even_signs_avx2(seven_signs(block))) {
            GR_UNROLL
            for (int half = 0; half < 2; ++half)
                _mm256_store_si256(reinterpret_cast<__m256i*>(at + 16 * half),
                                   _mm256_and_si256(words(block, half), _mm256_set1_epi16(0x1ff)));
        }
    };
};

}  // namespace

constinit const QuantDots kDotIQ2XS = quant_dots<IQ2XS>();

}  // namespace greenroom::cpu
