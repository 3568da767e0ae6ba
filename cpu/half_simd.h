#pragma once

// F16 and BF16, whose numbers widen to floats in registers: what kernels that read both are written over.

#include "cpu/simd.h"
#include "quant/half.h"
#include "quant/types.h"

#include <cstdint>

namespace greenroom::cpu {

struct HalfF16 {
    static constexpr quant::Type kType = quant::Type::F16;

    static float widen(std::uint16_t bits) noexcept { return quant::f16_to_f32(bits); }
    GR_AVX2_INLINE static __m256 widen_avx2(__m128i bits) noexcept { return _mm256_cvtph_ps(bits); }
    GR_AVX512_INLINE static __m512 widen_avx512(__m256i bits) noexcept {
        return _mm512_maskz_cvtph_ps(0xffff, bits);
    }
};

// A BF16 number is the upper half of its float.
struct HalfBF16 {
    static constexpr quant::Type kType = quant::Type::BF16;

    static float widen(std::uint16_t bits) noexcept { return quant::bf16_to_f32(bits); }
    GR_AVX2_INLINE static __m256 widen_avx2(__m128i bits) noexcept {
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
    }
    GR_AVX512_INLINE static __m512 widen_avx512(__m256i bits) noexcept {
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_maskz_cvtepu16_epi32(0xffff, bits), 16));
    }
};

// 8 numbers, which need no alignment, and 16.
template <class Half>
GR_AVX2_INLINE __m256 load_halves_avx2(const void* from) noexcept {
    return Half::widen_avx2(_mm_loadu_si128(static_cast<const __m128i*>(from)));
}
template <class Half>
GR_AVX512_INLINE __m512 load_halves_avx512(const void* from) noexcept {
    return Half::widen_avx512(_mm256_loadu_si256(static_cast<const __m256i*>(from)));
}

}  // namespace greenroom::cpu
