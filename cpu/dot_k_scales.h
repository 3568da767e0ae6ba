#pragma once

// The scales and minimums of Q4_K and Q5_K, which store them alike.

#include "cpu/simd.h"
#include "quant/half.h"

#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

// d · scale of the eight groups, from the 12 bytes that quant::ScalesAndMins describes. Four 6-bit numbers
// are unpacked at a time, as the bytes of a 32-bit word.
GR_AVX2_INLINE __m256 k_numbers(std::uint32_t low, std::uint32_t high, std::uint16_t factor,
                                float sign) noexcept {
    const __m128i bytes = _mm_set_epi32(0, 0, static_cast<int>(high), static_cast<int>(low));
    const __m256 numbers = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
    return _mm256_mul_ps(numbers, _mm256_set1_ps(sign * _cvtsh_ss(factor)));
}

GR_AVX2_INLINE __m256 k_scales(const std::uint8_t* packed, std::uint16_t d) noexcept {
    std::uint32_t words[3];
    std::memcpy(words, packed, sizeof words);
    return k_numbers(words[0] & 0x3f3f3f3fU, (words[2] & 0x0f0f0f0fU) | (words[0] >> 2 & 0x30303030U), d, 1);
}

// −dmin · min of the eight groups.
GR_AVX2_INLINE __m256 k_minimums(const std::uint8_t* packed, std::uint16_t dmin) noexcept {
    std::uint32_t words[3];
    std::memcpy(words, packed, sizeof words);
    return k_numbers(words[1] & 0x3f3f3f3fU, (words[2] >> 4 & 0x0f0f0f0fU) | (words[1] >> 2 & 0x30303030U),
                     dmin, -1);
}

}  // namespace greenroom::cpu
