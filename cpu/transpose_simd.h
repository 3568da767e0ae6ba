#pragma once

// Turning vectors around: transposition, and sums of lanes for many vectors at once; and the products and
// conversions of the kernels of quantized weights, which surround them.

#include "cpu/simd.h"

#include <cstdint>

namespace greenroom::cpu {

// ---- AVX-512 ----

// sum += a · b of 32 pairs of words, two per lane. In assembly, since g++ 12 copies the sum of the intrinsic
// to and fro.
GR_AVX512_INLINE void add_products_avx512(__m512i& sum, __m512i a, __m512i b) noexcept {
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}

// The same of unsigned by signed bytes, four per lane.
GR_AVX512_INLINE void add_byte_products_avx512(__m512i& sum, __m512i a, __m512i b) noexcept {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
}

// The same with 64 bytes in memory.
GR_AVX512_INLINE void add_byte_products_avx512(__m512i& sum, __m512i a, const std::int8_t* b) noexcept {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "m"(*reinterpret_cast<const std::int8_t(*)[64]>(b)));
}

// sums[i] += values[i] · factors[i] of 16.
GR_AVX512_INLINE void add_scaled_avx512(float* sums, __m512 values, __m512 factors) noexcept {
    _mm512_store_ps(sums, _mm512_fmadd_ps(values, factors, _mm512_load_ps(sums)));
}

// 16 float16 numbers.
GR_AVX512_INLINE __m512 halves_avx512(const std::uint16_t* halves) noexcept {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
}

// Turns 16 vectors of 16 numbers of 32 bits around: out[i][r] = in[r][i].
GR_AVX512_INLINE void transpose_avx512(__m512i* v) noexcept {
    __m512i pairs[16];
    GR_UNROLL
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    // quads[i + k]: in 128-bit lane l the numbers 4l + k of rows i … i + 3.
    __m512i quads[16];
    GR_UNROLL
    for (int i = 0; i < 16; i += 4) {
        quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    GR_UNROLL
    for (int k = 0; k < 4; ++k) {
        const __m512i even_low = _mm512_shuffle_i32x4(quads[k], quads[4 + k], 0x88);
        const __m512i odd_low = _mm512_shuffle_i32x4(quads[k], quads[4 + k], 0xdd);
        const __m512i even_high = _mm512_shuffle_i32x4(quads[8 + k], quads[12 + k], 0x88);
        const __m512i odd_high = _mm512_shuffle_i32x4(quads[8 + k], quads[12 + k], 0xdd);
        v[k] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
        v[4 + k] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
        v[8 + k] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
        v[12 + k] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
    }
}

// Four vectors of 16 turned around: 128-bit lane l of out[k] has number 4l + k of each.
GR_AVX512_INLINE void transpose_quads(__m512* v) noexcept {
    const __m512 low01 = _mm512_unpacklo_ps(v[0], v[1]);
    const __m512 high01 = _mm512_unpackhi_ps(v[0], v[1]);
    const __m512 low23 = _mm512_unpacklo_ps(v[2], v[3]);
    const __m512 high23 = _mm512_unpackhi_ps(v[2], v[3]);
    v[0] = _mm512_shuffle_ps(low01, low23, 0x44);
    v[1] = _mm512_shuffle_ps(low01, low23, 0xee);
    v[2] = _mm512_shuffle_ps(high01, high23, 0x44);
    v[3] = _mm512_shuffle_ps(high01, high23, 0xee);
}

// out[i][r] = in[r][i] for 16 vectors of 8.
GR_AVX512_INLINE void transpose_16x8_avx512(const __m256* in, __m512* out) noexcept {
    // Rows 0 – 3 and 8 – 11 in the lower halves, 4 – 7 and 12 – 15 in the upper.
    __m512 quads[8];
    GR_UNROLL
    for (int i = 0; i < 8; i += 4) {
        __m512 v[4];
        GR_UNROLL
        for (int r = 0; r < 4; ++r)
            v[r] = _mm512_insertf32x8(_mm512_castps256_ps512(in[2 * i + r]), in[2 * i + r + 4], 1);
        transpose_quads(v);
        GR_UNROLL
        for (int k = 0; k < 4; ++k) quads[i + k] = v[k];
    }
    GR_UNROLL
    for (int k = 0; k < 4; ++k) {
        out[k] = _mm512_shuffle_f32x4(quads[k], quads[4 + k], 0x88);
        out[4 + k] = _mm512_shuffle_f32x4(quads[k], quads[4 + k], 0xdd);
    }
}

// In lane 4l + i of the result the sum of 128-bit lane l of v[i].
GR_AVX512_INLINE __m512i sum_quads_avx512(const __m512i* v) noexcept {
    const __m512i first =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]), _mm512_unpackhi_epi32(v[0], v[1]));
    const __m512i second =
        _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]), _mm512_unpackhi_epi32(v[2], v[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
}

// The sums of the lanes of four vectors.
GR_AVX512_INLINE __m128i sum_lanes_of_four_avx512(const __m512i* v) noexcept {
    const __m512i quads = sum_quads_avx512(v);
    const __m256i pairs =
        _mm256_add_epi32(_mm512_castsi512_si256(quads), _mm512_extracti64x4_epi64(quads, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
}

// ---- AVX2 ----

// 8 float16 numbers.
GR_AVX2_INLINE __m256 halves_avx2(const std::uint16_t* halves) noexcept {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves)));
}

// Four vectors of 8 turned around: half h of out[k] has number 4h + k of each.
GR_AVX2_INLINE void transpose_quads(__m256* v) noexcept {
    const __m256 low01 = _mm256_unpacklo_ps(v[0], v[1]);
    const __m256 high01 = _mm256_unpackhi_ps(v[0], v[1]);
    const __m256 low23 = _mm256_unpacklo_ps(v[2], v[3]);
    const __m256 high23 = _mm256_unpackhi_ps(v[2], v[3]);
    v[0] = _mm256_shuffle_ps(low01, low23, 0x44);
    v[1] = _mm256_shuffle_ps(low01, low23, 0xee);
    v[2] = _mm256_shuffle_ps(high01, high23, 0x44);
    v[3] = _mm256_shuffle_ps(high01, high23, 0xee);
}

// Turns 8 vectors of 8 around: out[i][r] = in[r][i].
GR_AVX2_INLINE void transpose_avx2(__m256* v) noexcept {
    transpose_quads(v);
    transpose_quads(v + 4);
    GR_UNROLL
    for (int k = 0; k < 4; ++k) {
        const __m256 low = v[k];
        v[k] = _mm256_permute2f128_ps(low, v[4 + k], 0x20);
        v[4 + k] = _mm256_permute2f128_ps(low, v[4 + k], 0x31);
    }
}
GR_AVX2_INLINE void transpose_avx2(__m256i* v) noexcept {
    __m256 floats[8];
    GR_UNROLL
    for (int i = 0; i < 8; ++i) floats[i] = _mm256_castsi256_ps(v[i]);
    transpose_avx2(floats);
    GR_UNROLL
    for (int i = 0; i < 8; ++i) v[i] = _mm256_castps_si256(floats[i]);
}

// The sums of the lanes of four vectors.
GR_AVX2_INLINE __m128i sum_lanes_of_four(const __m128i* v) noexcept {
    return _mm_hadd_epi32(_mm_hadd_epi32(v[0], v[1]), _mm_hadd_epi32(v[2], v[3]));
}
GR_AVX2_INLINE __m128i sum_lanes_of_four_avx2(const __m256i* v) noexcept {
    const __m256i quads = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    return _mm_add_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
}

// Half 0 or 1 of a vector. Call it with constants.
GR_AVX2_INLINE __m128 half_of(__m256 v, int half) noexcept {
    return half == 0 ? _mm256_castps256_ps128(v) : _mm256_extractf128_ps(v, 1);
}

// Four float16 numbers.
GR_AVX2_INLINE __m128 four_halves(std::uint16_t a, std::uint16_t b, std::uint16_t c,
                                  std::uint16_t d) noexcept {
    const std::uint64_t all = a | std::uint64_t{b} << 16 | std::uint64_t{c} << 32 | std::uint64_t{d} << 48;
    return _mm_cvtph_ps(_mm_cvtsi64_si128(static_cast<long long>(all)));
}

}  // namespace greenroom::cpu
