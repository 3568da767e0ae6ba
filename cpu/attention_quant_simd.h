#pragma once

// What the kernels of attention over quantized rows share.

#include "cpu/attention_kernels.h"
#include "cpu/attention_simd.h"
#include "cpu/transpose_simd.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace greenroom::cpu {

// The float16 number at a place put into lane k.
template <int k>
GR_AVX512_INLINE void insert_half(__m128i& halves, const std::byte* from) noexcept {
    std::int16_t half;
    std::memcpy(&half, from, sizeof half);
    halves = _mm_insert_epi16(halves, half, k);
}

// The float16 numbers at two places of eight rows.
template <int... k>
GR_AVX512_INLINE void load_halves(__m128i& first, __m128i& second, const std::byte* const* rows,
                                  std::int64_t at_first, std::int64_t at_second,
                                  std::integer_sequence<int, k...>) noexcept {
    first = second = _mm_setzero_si128();
    ((insert_half<k>(first, rows[k] + at_first), insert_half<k>(second, rows[k] + at_second)), ...);
}

// The same of all rows of a block, as floats. Put together in registers: they would be waited for if they
// were stored one by one and loaded as vectors.
GR_AVX512_INLINE void load_scales_avx512(__m512* first, __m512* second, const std::byte* const* rows,
                                         std::int64_t at_first, std::int64_t at_second) noexcept {
    constexpr auto kEight = std::make_integer_sequence<int, 8>();
    for (int v = 0; v < kBlockPositions / 16; ++v) {
        __m128i low[2];
        __m128i high[2];
        load_halves(low[0], low[1], rows + 16 * v, at_first, at_second, kEight);
        load_halves(high[0], high[1], rows + 16 * v + 8, at_first, at_second, kEight);
        first[v] = _mm512_cvtph_ps(_mm256_set_m128i(high[0], low[0]));
        second[v] = _mm512_cvtph_ps(_mm256_set_m128i(high[1], low[1]));
    }
}

// The same 32 bits in all lanes.
GR_AVX512_INLINE __m512i broadcast_avx512(const void* from) noexcept {
    std::int32_t bits;
    std::memcpy(&bits, from, sizeof bits);
    return _mm512_set1_epi32(bits);
}

}  // namespace greenroom::cpu
