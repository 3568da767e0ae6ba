#pragma once

// The fifth bits of Q5_0 and Q5_1, which store them alike: 32 bits, bit j for value j.

#include "cpu/dot_format.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

// 16 in byte j where bit j is set.
GR_AVX2_INLINE __m256i fifth_bits_avx2(std::uint32_t bits) noexcept {
    return _mm256_and_si256(set_bytes_avx2(bits), _mm256_set1_epi8(16));
}

// Adds 16 to the weights whose bit is set, of the first and the last 16 of four blocks.
template <class Block>
GR_AVX512_INLINE void add_fifth_bits_avx512(const Block* block, __m512i* halves) noexcept {
    const __m512i lanes = load_lanes_avx512(&block->qh, sizeof(Block));
    const __m512i bit = _mm512_set1_epi64(static_cast<long long>(0x8040201008040201U));
    GR_UNROLL
    for (int h = 0; h < 2; ++h) {
        // Byte j gets the byte that holds bit 16h + j, of which it looks at one bit.
        const __m512i source = _mm512_broadcast_i32x4(
            _mm_set_epi64x(0x0101010101010101 * (2 * h + 1), 0x0101010101010101 * (2 * h)));
        const __mmask64 is_set = _mm512_test_epi8_mask(_mm512_shuffle_epi8(lanes, source), bit);
        halves[h] = _mm512_mask_add_epi8(halves[h], is_set, halves[h], _mm512_set1_epi8(16));
    }
}

}  // namespace greenroom::cpu
