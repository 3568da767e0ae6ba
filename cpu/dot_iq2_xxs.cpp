// IQ2_XXS: 256 values in 66 bytes, 8 groups of 32; w = d / 8 · (2q + 1) · ± value of a point of 8.
//
//     d       float16
//     qs[64]  per group four bytes, where the points stand in quant::kIq2XxsGrid, then 32 bits: four times
//             seven signs (quant::kEvenSigns), and q on top

#include "cpu/dot_iq_points.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct IQ2XXS : SignedPointsFormat<IQ2XXS, quant::BlockIQ2XXS, 43> {
    static constexpr float kUnit = 0.125F;

    static const auto* grid() noexcept { return quant::kIq2XxsGrid.data(); }
    GR_AVX2_INLINE static __m256i scales(const Block* block) noexcept {
        return odd_scales_of_32_avx2(_mm256_srli_epi32(words<1>(block), 28));
    }

    // Lanes of the first (0) or second (1) four bytes of each group.
    template <int kSecond>
    GR_AVX2_INLINE static __m256i words(const Block* block) noexcept {
        const __m256 low = _mm256_loadu_ps(reinterpret_cast<const float*>(block->qs));
        const __m256 high = _mm256_loadu_ps(reinterpret_cast<const float*>(block->qs + 32));
        const __m256 both = _mm256_shuffle_ps(low, high, kSecond == 0 ? 0x88 : 0xdd);
        return _mm256_permute4x64_epi64(_mm256_castps_si256(both), 0xd8);
    }

    struct Points {
        alignas(32) std::uint8_t at[32];
        Signs signs;
        GR_AVX2_INLINE explicit Points(const Block* block) noexcept
            : signs(even_signs_of_28_avx2(words<1>(block))) {
            _mm256_store_si256(reinterpret_cast<__m256i*>(at), words<0>(block));
        }
    };
};

}  // namespace

constinit const QuantDots kDotIQ2XXS = quant_dots<IQ2XXS>();

}  // namespace greenroom::cpu
