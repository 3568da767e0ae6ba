// Squares of floats are exact in double, and are added up in 32 sums, number i to sum i mod 32: so many that
// vectors of them do not wait for each other.

#include "cpu/rms_norm.h"

#include "cpu/simd.h"

#include <cmath>

namespace greenroom::cpu {
namespace {

constexpr int kSums = 32;

// What the values are multiplied by. sums: of those before `first`, a multiple of kSums.
float factor_of(double* sums, const float* x, std::int64_t first, std::int64_t n, float eps) noexcept {
    for (std::int64_t i = first; i < n; ++i)
        sums[i - first] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    for (int half = kSums / 2; half > 0; half /= 2)
        for (int k = 0; k < half; ++k) sums[k] += sums[half + k];
    return 1.0F / std::sqrt(static_cast<float>(sums[0] / static_cast<double>(n)) + eps);
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
    constexpr int kVectors = kSums / 4;
    __m256d lanes[kVectors] = {};
    std::int64_t i = 0;
    for (; i + kSums <= n; i += kSums) {
        GR_UNROLL
        for (int k = 0; k < kVectors; ++k) {
            const __m256d v = _mm256_cvtps_pd(_mm_loadu_ps(x + i + 4 * k));
            lanes[k] = _mm256_fmadd_pd(v, v, lanes[k]);
        }
    }
    double sums[kSums];
    GR_UNROLL
    for (int k = 0; k < kVectors; ++k) _mm256_storeu_pd(sums + 4 * k, lanes[k]);
    const float factor = factor_of(sums, x, i, n, eps);
    for (i = 0; i + 8 <= n; i += 8) {
        __m256 v = _mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(factor));
        if (weight != nullptr) v = _mm256_mul_ps(v, _mm256_loadu_ps(weight + i));
        _mm256_storeu_ps(out + i, v);
    }
    scale_rest(out, x, weight, factor, i, n);
}

}  // namespace greenroom::cpu
