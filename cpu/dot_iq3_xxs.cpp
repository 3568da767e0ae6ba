// IQ3_XXS: 256 values in 98 bytes, 8 groups of 32; w = d / 4 · (2q + 1) · ± value of a point of 4.
//
//     d                    float16
//     qs[64]               where the points stand in quant::kIq3XxsGrid
//     scales_and_signs[8]  per group four times seven signs (quant::kEvenSigns), and q on top

#include "cpu/dot_iq_points.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct IQ3XXS {
    using Block = quant::BlockIQ3XXS;
    static constexpr int kGroup = 16;
    static constexpr bool kFloatScales = false;
    static constexpr int kOffset = 62;
    static constexpr int kLargest = 124;
    static constexpr bool kHasMin = false;
    static constexpr float kUnit = 0.25F;

    GR_AVX2_INLINE static void weights_avx2(const Block* block, __m256i* w) noexcept {
        const Signs signs(even_signs_of_28_avx2(words(block)));
        signed_points_avx2<kOffset>(quant::kIq3XxsGrid.data(), block->qs, signs, w);
    }
    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        const Signs signs(even_signs_of_28_avx2(words(block)));
        signed_points_avx512<kOffset>(quant::kIq3XxsGrid.data(), block->qs, signs, w);
    }

    static std::uint16_t factor(const Block* block) noexcept { return block->d; }
    GR_AVX2_INLINE static __m256i scales(const Block* block) noexcept {
        return odd_scales_of_32_avx2(_mm256_srli_epi32(words(block), 28));
    }

  private:
    GR_AVX2_INLINE static __m256i words(const Block* block) noexcept {
        const auto* words = reinterpret_cast<const std::byte*>(block) + offsetof(Block, scales_and_signs);
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
    }
};

}  // namespace

constinit const QuantDots kDotIQ3XXS = quant_dots<IQ3XXS>();

}  // namespace greenroom::cpu
