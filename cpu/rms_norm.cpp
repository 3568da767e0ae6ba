// Squares of floats are exact in double, and are added up in eight sums, number i to sum i mod 8: those of
// the scalar one, or lanes.

#include "cpu/rms_norm.h"

#include "cpu/simd.h"

#include <cmath>

namespace greenroom::cpu {
namespace {

constexpr int kSums = 8;

// What the values are multiplied by. sums: of those before first, a multiple of kSums.
float factor_of(double* sums, const float* x, std::int64_t first, std::int64_t n, float eps) noexcept {
    for (std::int64_t i = first; i < n; ++i)
        sums[i - first] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    const double sum =
        ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
    return 1.0F / std::sqrt(static_cast<float>(sum / static_cast<double>(n)) + eps);
}

// The values from `first` on.
void scale_rest(float* out, const float* x, const float* weight, float factor, std::int64_t first,
                std::int64_t n) noexcept {
    for (std::int64_t i = first; i < n; ++i)
        out[i] = weight == nullptr ? x[i] * factor : x[i] * factor * weight[i];
}

}  // namespace

void rms_norm_scalar(float* out, const float* x, const float* weight, float eps, std::int64_t n) noexcept {
    double sums[kSums] = {};
    std::int64_t i = 0;
    for (; i + kSums <= n; i += kSums)
        for (int k = 0; k < kSums; ++k)
            sums[k] += static_cast<double>(x[i + k]) * static_cast<double>(x[i + k]);
    scale_rest(out, x, weight, factor_of(sums, x, i, n, eps), 0, n);
}

GR_AVX2 void rms_norm_avx2(float* out, const float* x, const float* weight, float eps,
                           std::int64_t n) noexcept {
    __m256d low = _mm256_setzero_pd();
    __m256d high = _mm256_setzero_pd();
    std::int64_t i = 0;
    for (; i + kSums <= n; i += kSums) {
        const __m256d first = _mm256_cvtps_pd(_mm_loadu_ps(x + i));
        const __m256d second = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4));
        low = _mm256_fmadd_pd(first, first, low);
        high = _mm256_fmadd_pd(second, second, high);
    }
    double sums[kSums];
    _mm256_storeu_pd(sums, low);
    _mm256_storeu_pd(sums + 4, high);
    const float factor = factor_of(sums, x, i, n, eps);
    for (i = 0; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(factor));
        if (weight != nullptr) v = _mm256_mul_ps(v, _mm256_loadu_ps(weight + i));
        _mm256_storeu_ps(out + i, v);
    }
    scale_rest(out, x, weight, factor, i, n);
}

GR_AVX512 void rms_norm_avx512(float* out, const float* x, const float* weight, float eps,
                               std::int64_t n) noexcept {
    __m512d lanes = _mm512_setzero_pd();
    std::int64_t i = 0;
    for (; i + kSums <= n; i += kSums) {
        const __m512d v = _mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(x + i));
        lanes = _mm512_fmadd_pd(v, v, lanes);
    }
    double sums[kSums];
    _mm512_storeu_pd(sums, lanes);
    const float factor = factor_of(sums, x, i, n, eps);
    for (i = 0; i + 16 <= n; i += 16) {
        __m512 v = _mm512_mul_ps(_mm512_loadu_ps(x + i), _mm512_set1_ps(factor));
        if (weight != nullptr) v = _mm512_mul_ps(v, _mm512_loadu_ps(weight + i));
        _mm512_storeu_ps(out + i, v);
    }
    scale_rest(out, x, weight, factor, i, n);
}

}  // namespace greenroom::cpu
