#pragma once

// The fifth bits of Q5_0 and Q5_1, which store them alike: 32 bits, bit j for value j.

#include "cpu/simd.h"

#include <cstdint>

namespace greenroom::cpu {

// 16 in byte j where bit j is set.
GR_AVX2_INLINE __m256i fifth_bits_avx2(std::uint32_t bits) noexcept {
    // Byte j gets the byte that holds bit j, of which it looks at one bit.
    const __m256i source = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), source);
    const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201U));
    const __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    return _mm256_and_si256(is_set, _mm256_set1_epi8(16));
}

// Adds 16 to the bytes whose bit is set, for two blocks.
GR_AVX512_INLINE __m512i add_fifth_bits_avx512(__m512i nibbles, std::uint32_t low,
                                               std::uint32_t high) noexcept {
    const __mmask64 is_set = std::uint64_t{low} | std::uint64_t{high} << 32;
    return _mm512_mask_add_epi8(nibbles, is_set, nibbles, _mm512_set1_epi8(16));
}

}  // namespace greenroom::cpu
