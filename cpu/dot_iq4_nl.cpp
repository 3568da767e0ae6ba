// IQ4_NL: 32 values in 18 bytes, d (float16) and 16 bytes of nibbles, the low ones first; w = d ·
// level[nibble] with the sixteen levels of quant::kIq4NlValues.

#include "cpu/dot_iq4_levels.h"
#include "cpu/dot_quant_simd.h"

namespace greenroom::cpu {
namespace {

struct IQ4NL {
    using Block = quant::BlockIQ4NL;
    static constexpr int kGroup = 32;
    static constexpr bool kFloatScales = true;
    static constexpr int kOffset = 128;
    static constexpr int kLargest = 241;
    static constexpr bool kHasMin = false;

    GR_AVX2_INLINE static __m256i unit_avx2(const Block* block, int i) noexcept {
        return iq4_levels_avx2(nibbles_avx2(block[i].qs));
    }

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        nibbles_of_blocks_avx512(block, w);
        GR_UNROLL
        for (int i = 0; i < 4; ++i) w[i] = iq4_levels_avx512(w[i]);
    }

    GR_AVX512_INLINE static void weights_vbmi(const Block* block, __m512i* w) noexcept {
        look_up_blocks_vbmi(_mm512_broadcast_i32x4(raised_iq4_levels()), block, w);
    }

    GR_AVX2_INLINE static __m256 scales(const Block* block) noexcept {
        return gather_halves(block, offsetof(Block, d));
    }

    GR_AVX512_INLINE static void scales_of_four_avx512(const Block* const* chunks, __m512* scales) noexcept {
        halves_of_four_avx512<offsetof(Block, d)>(chunks, scales);
    }
};

}  // namespace

constinit const QuantDots kDotIQ4NL = quant_dots<IQ4NL>();

}  // namespace greenroom::cpu
