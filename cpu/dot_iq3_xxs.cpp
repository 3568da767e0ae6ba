// IQ3_XXS: 256 values in 98 bytes, 8 groups of 32; w = d / 4 · (2q + 1) · ± value of a point of 4.
//
//     d                    float16
//     qs[64]               where the points stand in quant::kIq3XxsGrid
//     scales_and_signs[8]  per group four times seven signs (quant::kEvenSigns), and q on top

#include "cpu/dot_iq_points.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct IQ3XXS : SignedPointsFormat<IQ3XXS, quant::BlockIQ3XXS, 62> {
    static constexpr float kUnit = 0.25F;

    static const auto* grid() noexcept { return quant::kIq3XxsGrid.data(); }
    GR_AVX2_INLINE static __m256i scales(const Block* block) noexcept {
        return odd_scales_of_32_avx2(_mm256_srli_epi32(words(block), 28));
    }

    GR_AVX2_INLINE static __m256i words(const Block* block) noexcept {
        const auto* words = reinterpret_cast<const std::byte*>(block) + offsetof(Block, scales_and_signs);
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
    }

    struct Points {
        const std::uint8_t* at;
        Signs signs;
        GR_AVX2_INLINE explicit Points(const Block* block) noexcept
            : at(block->qs), signs(even_signs_of_28_avx2(words(block))) {}
    };
};

}  // namespace

constinit const QuantDots kDotIQ3XXS = quant_dots<IQ3XXS>();

}  // namespace greenroom::cpu
