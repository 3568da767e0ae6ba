// IQ2_S: 256 values in 82 bytes, 16 groups of 16; w = d / 8 · (2q + 1) · ± value of a point of 8.
//
//     d          float16
//     qs[32]     the low eight bits of where a point stands in quant::kIq2SGrid
//     signs[32]  a bit per value
//     qh[8]      two more bits per point: bits 2i and 2i + 1 of a byte for its point i
//     scales[8]  nibbles q, the low one first

#include "cpu/dot_iq_points.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct IQ2S : SignedPointsFormat<IQ2S, quant::BlockIQ2S, 43> {
    static constexpr float kUnit = 0.125F;

    static const auto* grid() noexcept { return quant::kIq2SGrid.data(); }
    GR_AVX2_INLINE static __m256i scales(const Block* block) noexcept {
        return odd_scales_of_nibbles_avx2(block->scales);
    }

    struct Points {
        alignas(32) std::uint16_t at[32];
        Signs signs;
        GR_AVX2_INLINE explicit Points(const Block* block) noexcept
            : signs(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(block->signs))) {
            std::int64_t qh = 0;
            std::memcpy(&qh, block->qh, sizeof qh);
            GR_UNROLL
            for (int half = 0; half < 2; ++half) {
                const __m256i low = _mm256_cvtepu8_epi16(
                    _mm_loadu_si128(reinterpret_cast<const __m128i*>(block->qs + 16 * half)));
                // To each word its byte, of which two bits are moved to bits 6 and 7, then to 8 and 9.
                const __m256i source =
                    _mm256_add_epi8(_mm256_setr_epi64x(0, 0x0001'0001'0001'0001, 0x0002'0002'0002'0002,
                                                       0x0003'0003'0003'0003),
                                    _mm256_set1_epi16(static_cast<short>(0x8000 + 4 * half)));
                const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi64x(qh), source);
                const __m256i moved = _mm256_mullo_epi16(bytes, _mm256_set1_epi64x(0x0001'0004'0010'0040));
                const __m256i high = _mm256_and_si256(_mm256_slli_epi16(moved, 2), _mm256_set1_epi16(0x300));
                _mm256_store_si256(reinterpret_cast<__m256i*>(at + 16 * half), _mm256_or_si256(low, high));
            }
        }
    };
};

}  // namespace

constinit const QuantDots kDotIQ2S = quant_dots<IQ2S>();

}  // namespace greenroom::cpu
