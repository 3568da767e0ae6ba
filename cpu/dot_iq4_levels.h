#pragma once

// The sixteen levels of IQ4_NL and IQ4_XS, looked up by nibble.

#include "cpu/simd.h"
#include "quant/iq_tables.h"

namespace greenroom::cpu {

// As unsigned bytes, 128 too large.
GR_AVX2_INLINE __m128i raised_iq4_levels() noexcept {
    const __m128i levels = _mm_loadu_si128(reinterpret_cast<const __m128i*>(quant::kIq4NlValues.data()));
    return _mm_xor_si128(levels, _mm_set1_epi8(-128));
}

GR_AVX2_INLINE __m256i iq4_levels_avx2(__m256i nibbles) noexcept {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(raised_iq4_levels()), nibbles);
}

GR_AVX512_INLINE __m512i iq4_levels_avx512(__m512i nibbles) noexcept {
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(raised_iq4_levels()), nibbles);
}

}  // namespace greenroom::cpu
