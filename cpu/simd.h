#pragma once

// What SIMD kernels share: attributes of inline helpers, and horizontal sums.

#include "cpu/isa.h"

// g++ 12 takes the undefined vectors that its own AVX-512 intrinsics start from for a mistake of the caller
// (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif

// Helpers of the kernels. Always inlined: arrays of vectors that they take or fill then live in registers.
#define GR_AVX2_INLINE GR_AVX2 [[gnu::always_inline]] inline
#define GR_AVX512_INLINE GR_AVX512 [[gnu::always_inline]] inline

// Before a loop with a fixed, small number of turns over an array of vectors: without it g++ -O2 keeps the
// array in memory. clang unrolls such loops by itself.
#if defined(__clang__)
#define GR_UNROLL
#else
#define GR_UNROLL _Pragma("GCC unroll 16")
#endif

namespace greenroom::cpu {

GR_AVX2_INLINE float sum_avx2(__m256 v) noexcept {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}

// Own horizontal sum, with the zero-masked extract: g++ 12 warns inside _mm512_reduce_add_ps and the plain
// one.
GR_AVX512_INLINE float sum_avx512(__m512 v) noexcept {
    const __m256 low = _mm512_maskz_extractf32x8_ps(0xff, v, 0);
    const __m256 high = _mm512_maskz_extractf32x8_ps(0xff, v, 1);
    return sum_avx2(_mm256_add_ps(low, high));
}

}  // namespace greenroom::cpu
