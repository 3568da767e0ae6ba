#pragma once

// e^x of 16 or 8 floats; AVX-512 and AVX2 give the same bits. Within 1.1 units in the last place of the exact
// value (tests/cpu/exp_simd_test.cpp), subnormal results rounded once; e^-∞ = 0, ∞ from 88.73 on, NaN of a
// NaN.
//
// x = n·ln 2 + r with n an integer and |r| <= ln 2 / 2, ln 2 in two parts (Cody and Waite 1980, "Software
// Manual for the Elementary Functions", chapter 6); e^x = 2^n · e^r; e^r ≈ 1 + r + r²·p(r), p of degree 4
// with the least largest relative error (2^-28 before it is rounded to floats; Remez).

#include "cpu/simd.h"

namespace greenroom::cpu {

namespace exp_constants {
// Beyond these e^x is 0 and infinite in any case, and 2^n stays within reach of two factors.
inline constexpr float kLowest = -104.0F;
inline constexpr float kHighest = 89.0F;
inline constexpr float kLog2E = 0x1.715476p+0F;
inline constexpr float kLn2High = 0x1.62e43p-1F;
inline constexpr float kLn2Low = -0x1.05c61p-29F;
// Added to a small number it leaves its nearest integer in the lowest bits.
inline constexpr float kRounder = 0x1.8p+23F;
inline constexpr float kP0 = 0x1.fffffcp-2F;
inline constexpr float kP1 = 0x1.555492p-3F;
inline constexpr float kP2 = 0x1.5558f2p-5F;
inline constexpr float kP3 = 0x1.1239d4p-7F;
inline constexpr float kP4 = 0x1.6a244cp-10F;
}  // namespace exp_constants

// For x within kLowest … kHighest, or NaN; of lower ones it gives some number or NaN.
GR_AVX512_INLINE __m512 exp_in_range_avx512(__m512 x) noexcept {
    using namespace exp_constants;
    const __m512 rounder = _mm512_set1_ps(kRounder);
    const __m512 n = _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(kLog2E), rounder), rounder);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2High), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2Low), r);
    __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(kP4), r, _mm512_set1_ps(kP3));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kP2));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kP1));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kP0));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r);
    return _mm512_maskz_scalef_ps(0xffff, _mm512_add_ps(p, _mm512_set1_ps(1.0F)), n);
}

GR_AVX512_INLINE __m512 exp_avx512(__m512 x) noexcept {
    using namespace exp_constants;
    // Of a NaN and a number, min and max return what comes second. The zero-masked forms are those that g++
    // 12 does not warn in.
    return exp_in_range_avx512(_mm512_maskz_max_ps(0xffff, _mm512_set1_ps(kLowest),
                                                   _mm512_maskz_min_ps(0xffff, _mm512_set1_ps(kHighest), x)));
}

GR_AVX2_INLINE __m256 exp_avx2(__m256 x) noexcept {
    using namespace exp_constants;
    x = _mm256_max_ps(_mm256_set1_ps(kLowest), _mm256_min_ps(_mm256_set1_ps(kHighest), x));
    const __m256 rounder = _mm256_set1_ps(kRounder);
    const __m256 rounded = _mm256_fmadd_ps(x, _mm256_set1_ps(kLog2E), rounder);
    const __m256 n = _mm256_sub_ps(rounded, rounder);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(kLn2High), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(kLn2Low), r);
    __m256 p = _mm256_fmadd_ps(_mm256_set1_ps(kP4), r, _mm256_set1_ps(kP3));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kP2));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kP1));
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kP0));
    p = _mm256_fmadd_ps(p, _mm256_mul_ps(r, r), r);
    p = _mm256_add_ps(p, _mm256_set1_ps(1.0F));
    // 2^n in two factors: only the second product can leave the range, so it alone is rounded, as scalef
    // does.
    const __m256i exponent = _mm256_sub_epi32(_mm256_castps_si256(rounded), _mm256_castps_si256(rounder));
    const __m256i half = _mm256_srai_epi32(exponent, 1);
    const __m256i bias = _mm256_set1_epi32(127);
    const __m256i first = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    const __m256i second = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(exponent, half), bias), 23);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(first));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(second));
}

}  // namespace greenroom::cpu
