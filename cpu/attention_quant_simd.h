#pragma once

// What the kernels of attention over quantized rows share.

#include "cpu/attention_kernels.h"
#include "cpu/attention_simd.h"
#include "cpu/transpose_simd.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

// The float16 numbers at the same place of all rows of a block.
GR_AVX512_INLINE void load_scales_avx512(__m512* scales, const std::byte* const* rows,
                                         std::int64_t at) noexcept {
    std::uint16_t halves[kBlockPositions];
    for (int s = 0; s < kBlockPositions; ++s) std::memcpy(&halves[s], rows[s] + at, sizeof halves[s]);
    GR_UNROLL
    for (int v = 0; v < kBlockPositions / 16; ++v) scales[v] = halves_avx512(halves + 16 * v);
}

// The same 32 bits in all lanes.
GR_AVX512_INLINE __m512i broadcast_avx512(const void* from) noexcept {
    std::int32_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return _mm512_set1_epi32(bits);
}

}  // namespace greenroom::cpu
