// IQ3_S: 256 values in 110 bytes, 8 groups of 32; w = d · (2q + 1) · ± value of a point of 4.
//
//     d          float16
//     qs[64]     the low eight bits of where a point stands in quant::kIq3SGrid
//     qh[8]      the ninth: bit j for point j
//     signs[32]  a bit per value
//     scales[4]  nibbles q, the low one first

#include "cpu/dot_iq_points.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct IQ3S : SignedPointsFormat<IQ3S, quant::BlockIQ3S, 15> {
    static const auto* grid() noexcept { return quant::kIq3SGrid.data(); }
    GR_AVX2_INLINE static __m256i scales(const Block* block) noexcept {
        int nibbles = 0;
        std::memcpy(&nibbles, block->scales, sizeof nibbles);
        const __m256i q =
            _mm256_srlv_epi32(_mm256_set1_epi32(nibbles), _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28));
        return odd_scales_of_32_avx2(_mm256_and_si256(q, _mm256_set1_epi32(0xf)));
    }

    struct Points {
        alignas(32) std::uint16_t at[64];
        Signs signs;
        GR_AVX2_INLINE explicit Points(const Block* block) noexcept
            : signs(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(block->signs))) {
            std::uint32_t ninth[2];
            std::memcpy(ninth, block->qh, sizeof ninth);
            GR_UNROLL
            for (int half = 0; half < 2; ++half) {
                const __m256i low =
                    _mm256_loadu_si256(reinterpret_cast<const __m256i*>(block->qs + 32 * half));
                const __m256i high = _mm256_and_si256(set_bytes_avx2(ninth[half]), _mm256_set1_epi8(1));
                auto* to = reinterpret_cast<__m256i*>(at + 32 * half);
                // Lanes 0 and 2, and 1 and 3, of 8 points each.
                const __m256i even = _mm256_unpacklo_epi8(low, high);
                const __m256i odd = _mm256_unpackhi_epi8(low, high);
                _mm256_store_si256(to, _mm256_permute2x128_si256(even, odd, 0x20));
                _mm256_store_si256(to + 1, _mm256_permute2x128_si256(even, odd, 0x31));
            }
        }
    };
};

}  // namespace

constinit const QuantDots kDotIQ3S = quant_dots<IQ3S>();

}  // namespace greenroom::cpu
