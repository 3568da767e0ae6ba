#pragma once

// What the kernels of attention over quantized rows share.

#include "cpu/attention_kernels.h"
#include "cpu/attention_simd.h"
#include "cpu/transpose_simd.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

// The float16 numbers at two places of all rows of a block. They go through memory as pairs, in half as many
// stores.
GR_AVX512_INLINE void load_scales_avx512(__m512* first, __m512* second, const std::byte* const* rows,
                                         std::int64_t at_first, std::int64_t at_second) noexcept {
    alignas(64) std::uint32_t pairs[kBlockPositions];
    GR_UNROLL
    for (int s = 0; s < kBlockPositions; ++s) {
        std::uint16_t low;
        std::uint16_t high;
        std::memcpy(&low, rows[s] + at_first, sizeof low);
        std::memcpy(&high, rows[s] + at_second, sizeof high);
        pairs[s] = low | static_cast<std::uint32_t>(high) << 16;
    }
    GR_UNROLL
    for (int v = 0; v < kBlockPositions / 16; ++v) {
        const __m512i both = _mm512_load_si512(pairs + 16 * v);
        first[v] = _mm512_cvtph_ps(_mm512_maskz_cvtepi32_epi16(0xffff, both));
        second[v] = _mm512_cvtph_ps(_mm512_maskz_cvtepi32_epi16(0xffff, _mm512_srli_epi32(both, 16)));
    }
}

// The same 32 bits in all lanes.
GR_AVX512_INLINE __m512i broadcast_avx512(const void* from) noexcept {
    std::int32_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return _mm512_set1_epi32(bits);
}

}  // namespace greenroom::cpu
