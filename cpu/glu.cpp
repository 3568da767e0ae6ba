// Joining the halves of a gated network (activation.h has the formulas), 16 or 8 values at a time.

#include "cpu/glu.h"

#include "cpu/activation.h"
#include "cpu/exp_simd.h"

namespace greenroom::cpu {
namespace {

// The operations of join_glu(), in its order; of a NaN and a number, min and max return what comes second.
GR_AVX512_INLINE __m512 join_avx512(Glu kind, __m512 gate, __m512 up) noexcept {
    const __m512 one = _mm512_set1_ps(1.0F);
    const __m512 zero = _mm512_setzero_ps();
    if (kind == Glu::silu)
        return _mm512_mul_ps(_mm512_div_ps(gate, _mm512_add_ps(one, exp_avx512(_mm512_sub_ps(zero, gate)))),
                             up);
    const __m512 limit = _mm512_set1_ps(kSwigluLimit);
    gate = _mm512_maskz_min_ps(0xffff, limit, gate);
    up = _mm512_maskz_max_ps(0xffff, _mm512_sub_ps(zero, limit), _mm512_maskz_min_ps(0xffff, limit, up));
    const __m512 slope = _mm512_mul_ps(_mm512_set1_ps(kSwigluSlope), gate);
    const __m512 sigmoid = _mm512_div_ps(one, _mm512_add_ps(one, exp_avx512(_mm512_sub_ps(zero, slope))));
    return _mm512_mul_ps(_mm512_mul_ps(gate, sigmoid), _mm512_add_ps(up, one));
}

GR_AVX2_INLINE __m256 join_avx2(Glu kind, __m256 gate, __m256 up) noexcept {
    const __m256 one = _mm256_set1_ps(1.0F);
    const __m256 zero = _mm256_setzero_ps();
    if (kind == Glu::silu)
        return _mm256_mul_ps(_mm256_div_ps(gate, _mm256_add_ps(one, exp_avx2(_mm256_sub_ps(zero, gate)))),
                             up);
    const __m256 limit = _mm256_set1_ps(kSwigluLimit);
    gate = _mm256_min_ps(limit, gate);
    up = _mm256_max_ps(_mm256_sub_ps(zero, limit), _mm256_min_ps(limit, up));
    const __m256 slope = _mm256_mul_ps(_mm256_set1_ps(kSwigluSlope), gate);
    const __m256 sigmoid = _mm256_div_ps(one, _mm256_add_ps(one, exp_avx2(_mm256_sub_ps(zero, slope))));
    return _mm256_mul_ps(_mm256_mul_ps(gate, sigmoid), _mm256_add_ps(up, one));
}

}  // namespace

void glu_scalar(Glu kind, float* out, const float* gate, const float* up, std::int64_t n) noexcept {
    for (std::int64_t i = 0; i < n; ++i) out[i] = join_glu(kind, gate[i], up[i]);
}

GR_AVX2 void glu_avx2(Glu kind, float* out, const float* gate, const float* up, std::int64_t n) noexcept {
    std::int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(out + i, join_avx2(kind, _mm256_loadu_ps(gate + i), _mm256_loadu_ps(up + i)));
    if (i == n) return;
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n - i)), lanes);
    _mm256_maskstore_ps(
        out + i, mask, join_avx2(kind, _mm256_maskload_ps(gate + i, mask), _mm256_maskload_ps(up + i, mask)));
}

GR_AVX512 void glu_avx512(Glu kind, float* out, const float* gate, const float* up, std::int64_t n) noexcept {
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(out + i, join_avx512(kind, _mm512_loadu_ps(gate + i), _mm512_loadu_ps(up + i)));
    if (i == n) return;
    const auto mask = static_cast<__mmask16>((1U << (n - i)) - 1U);
    _mm512_mask_storeu_ps(
        out + i, mask,
        join_avx512(kind, _mm512_maskz_loadu_ps(mask, gate + i), _mm512_maskz_loadu_ps(mask, up + i)));
}

}  // namespace greenroom::cpu
