#pragma once

// The scales and minimums of Q4_K and Q5_K, which store them alike.

#include "cpu/simd.h"

#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

// Eight 6-bit numbers as words, from four in the bytes of each of two words of 32 bits.
GR_AVX2_INLINE __m128i k_numbers(std::uint32_t low, std::uint32_t high) noexcept {
    const std::uint64_t bytes = low | std::uint64_t{high} << 32;
    return _mm_cvtepu8_epi16(_mm_cvtsi64_si128(static_cast<long long>(bytes)));
}

// The scales of the eight groups, from the 12 bytes that quant::ScalesAndMins describes.
GR_AVX2_INLINE __m128i k_scales(const std::uint8_t* packed) noexcept {
    std::uint32_t words[3];
    std::memcpy(words, packed, sizeof words);
    return k_numbers(words[0] & 0x3f3f3f3fU, (words[2] & 0x0f0f0f0fU) | (words[0] >> 2 & 0x30303030U));
}

// Likewise the minimums.
GR_AVX2_INLINE __m128i k_minimums(const std::uint8_t* packed) noexcept {
    std::uint32_t words[3];
    std::memcpy(words, packed, sizeof words);
    return k_numbers(words[1] & 0x3f3f3f3fU, (words[2] >> 4 & 0x0f0f0f0fU) | (words[1] >> 2 & 0x30303030U));
}

// Of the first 16 bytes of four blocks (d, dmin and the packed numbers), a block per 128-bit lane: the eight
// scales, then the eight minimums, as bytes.
GR_AVX512_INLINE __m512i k_numbers_avx512(__m512i headers) noexcept {
    // Words 0, 2, 1 and 2 of the packed ones: the low six or four bits, those of the last in the high
    // nibbles.
    const __m512i low = _mm512_srlv_epi32(_mm512_shuffle_epi32(headers, _MM_PERM_DCDB),
                                          _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0, 0, 4)));
    const __m512i low_mask =
        _mm512_broadcast_i32x4(_mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
    // Words 0 and 1 once more: the high two bits of the last four numbers.
    const __m512i high = _mm512_srli_epi32(_mm512_shuffle_epi32(headers, _MM_PERM_CCBB), 2);
    const __m512i high_mask = _mm512_broadcast_i32x4(_mm_setr_epi32(0, 0x30303030, 0, 0x30303030));
    return _mm512_ternarylogic_epi32(_mm512_and_si512(low, low_mask), high, high_mask, 0xf8);
}

}  // namespace greenroom::cpu
