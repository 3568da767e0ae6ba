#pragma once

// The sixteen levels of IQ4_NL and IQ4_XS, looked up by nibble.

#include "cpu/simd.h"
#include "quant/iq_tables.h"

namespace greenroom::cpu {

// As signed bytes.
GR_AVX2_INLINE __m256i iq4_levels_avx2(__m256i nibbles) noexcept {
    const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(quant::kIq4NlValues.data()));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), nibbles);
}

// As unsigned bytes, 128 too large.
GR_AVX512_INLINE __m512i iq4_levels_avx512(__m512i nibbles) noexcept {
    const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(quant::kIq4NlValues.data()));
    const __m128i raised = _mm_xor_si128(levels, _mm_set1_epi8(-128));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(raised), nibbles);
}

}  // namespace greenroom::cpu
