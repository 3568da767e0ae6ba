// Scores to weights, and the weighted sums of values: scalar reference, AVX2, AVX-512.

#include "cpu/attention_simd.h"
#include "cpu/exp_simd.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace greenroom::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// ln FLT_MIN: below it e^x is subnormal.
constexpr float kLowestLog = -0x1.5d589ep+6F;

GR_AVX2_INLINE float max_avx2(__m256 v) noexcept {
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

template <int kQueries, int kVectors>
GR_AVX2_INLINE void accumulate_tile_avx2(float* out, std::int64_t out_stride, const float* factors,
                                         const float* weights, const float* values, std::int64_t value_stride,
                                         BlockRange range, LinesAhead::Lines lines) noexcept {
    __m256 sums[kQueries][kVectors];
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v)
            sums[j][v] =
                _mm256_mul_ps(_mm256_set1_ps(factors[j]), _mm256_loadu_ps(out + j * out_stride + 8 * v));
    }
    for (int s = range.first; s < range.last; ++s) {
        bring_near(lines[s - range.first]);
        __m256 value[kVectors];
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) value[v] = _mm256_loadu_ps(values + s * value_stride + 8 * v);
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j) {
            const __m256 weight = _mm256_broadcast_ss(weights + j * kBlockPositions + s);
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v) sums[j][v] = _mm256_fmadd_ps(weight, value[v], sums[j][v]);
        }
    }
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) _mm256_storeu_ps(out + j * out_stride + 8 * v, sums[j][v]);
    }
}

template <int kQueries, int kVectors>
GR_AVX2_INLINE void accumulate_group_avx2(int n, float* out, std::int64_t out_stride, const float* factors,
                                          const float* weights, const float* values,
                                          std::int64_t value_stride, BlockRange range,
                                          LinesAhead::Lines lines) noexcept {
    if (n == kQueries) {
        accumulate_tile_avx2<kQueries, kVectors>(out, out_stride, factors, weights, values, value_stride,
                                                 range, lines);
    } else if constexpr (kQueries > 1) {
        accumulate_group_avx2<kQueries - 1, kVectors>(n, out, out_stride, factors, weights, values,
                                                      value_stride, range, lines);
    }
}

struct ValuesOfFloats {
    const float* values;
    std::int64_t stride;

    GR_AVX512_INLINE __m512 load(int s, int v) const noexcept {
        return _mm512_loadu_ps(values + s * stride + 16 * v);
    }
};

template <int kQueries, int kVectors>
GR_AVX512_INLINE void accumulate_tile_avx512(float* out, std::int64_t out_stride, const float* factors,
                                             const float* weights, const float* values,
                                             std::int64_t value_stride, BlockRange range,
                                             LinesAhead::Lines lines) noexcept {
    __m512 sums[kQueries][kVectors];
    load_scaled_sums_avx512<kQueries>(sums, out, out_stride, factors);
    add_weighted_avx512<kQueries>(sums, weights, ValuesOfFloats{values, value_stride}, range, lines);
    store_sums_avx512<kQueries>(out, out_stride, sums);
}

template <int kQueries, int kVectors>
GR_AVX512_INLINE void accumulate_group_avx512(int n, float* out, std::int64_t out_stride,
                                              const float* factors, const float* weights, const float* values,
                                              std::int64_t value_stride, BlockRange range,
                                              LinesAhead::Lines lines) noexcept {
    if (n == kQueries) {
        accumulate_tile_avx512<kQueries, kVectors>(out, out_stride, factors, weights, values, value_stride,
                                                   range, lines);
    } else if constexpr (kQueries > 1) {
        accumulate_group_avx512<kQueries - 1, kVectors>(n, out, out_stride, factors, weights, values,
                                                        value_stride, range, lines);
    }
}

// Queries whose maximums, and sums, are found together.
constexpr int kWeighed = 8;

// Zero-masked forms, here and below, where g++ 12 warns in the plain ones.
//
// op(a, b) of the halves of 8 vectors, of theirs, …: a number for each vector, in the order that max_avx512()
// and sum_avx512() have.
template <class Op>
GR_AVX512_INLINE __m256 fold_eight(const __m512* v) noexcept {
    __m512 pairs[4];  // two vectors each, folded to 8 lanes
    GR_UNROLL
    for (int i = 0; i < 4; ++i)
        pairs[i] = Op::of(_mm512_maskz_shuffle_f32x4(0xffff, v[2 * i], v[2 * i + 1], 0x44),
                          _mm512_maskz_shuffle_f32x4(0xffff, v[2 * i], v[2 * i + 1], 0xee));
    __m512 quads[2];  // four each, to 4
    GR_UNROLL
    for (int i = 0; i < 2; ++i)
        quads[i] = Op::of(_mm512_maskz_shuffle_f32x4(0xffff, pairs[2 * i], pairs[2 * i + 1], 0x88),
                          _mm512_maskz_shuffle_f32x4(0xffff, pairs[2 * i], pairs[2 * i + 1], 0xdd));
    // In 128-bit lane i two numbers of vector i and two of vector 4 + i.
    const __m512 twos =
        Op::of(_mm512_shuffle_ps(quads[0], quads[1], 0x44), _mm512_shuffle_ps(quads[0], quads[1], 0xee));
    const __m512 ones = Op::of(twos, _mm512_shuffle_ps(twos, twos, 0xb1));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps256(_mm512_maskz_permutexvar_ps(0xffff, order, ones));
}

struct Max {
    GR_AVX512_INLINE static __m512 of(__m512 a, __m512 b) noexcept {
        return _mm512_maskz_max_ps(0xffff, a, b);
    }
};
struct Add {
    GR_AVX512_INLINE static __m512 of(__m512 a, __m512 b) noexcept { return _mm512_add_ps(a, b); }
};

// Of up to kWeighed queries, each step for all of them before the next one: what it takes to make one number
// of a vector, and a vector of one number, is not waited for.
GR_AVX512_INLINE void weigh_some_avx512(float* scores, const BlockRange* ranges, int n_queries, float scale,
                                        float* maximums, float* sums, float* factors) noexcept {
    constexpr int kVectors = kBlockPositions / 16;
    const __m512 scales = _mm512_set1_ps(scale);
    const __m512 lowest = _mm512_set1_ps(kLowestLog);
    const __m512 hidden = _mm512_set1_ps(-kInfinity);
    unsigned see_any = 0;
    __m512 v[kWeighed];
    for (int j = 0; j < kWeighed; ++j) {
        if (j >= n_queries || ranges[j].empty()) {
            v[j] = hidden;
            continue;
        }
        see_any |= 1U << j;
        float* row = scores + j * kBlockPositions;
        const std::uint64_t seen = bits_of(ranges[j]);
        __m512 s[kVectors];
        GR_UNROLL
        for (int i = 0; i < kVectors; ++i) {
            s[i] = _mm512_mul_ps(_mm512_loadu_ps(row + 16 * i), scales);
            if (~seen != 0) s[i] = _mm512_mask_mov_ps(hidden, static_cast<__mmask16>(seen >> 16 * i), s[i]);
            _mm512_storeu_ps(row + 16 * i, s[i]);
        }
        v[j] = Max::of(Max::of(s[0], s[1]), Max::of(s[2], s[3]));
    }
    const auto those = static_cast<__mmask8>(see_any);
    const __m256 old = _mm256_maskz_loadu_ps(those, maximums);
    // Of a NaN and a number, max returns what comes second.
    const __m256 maximum = _mm256_max_ps(fold_eight<Max>(v), old);
    const __m512 factor = exp_avx512(_mm512_castps256_ps512(_mm256_sub_ps(old, maximum)));
    float highest[kWeighed];
    _mm256_storeu_ps(highest, maximum);
    for (int j = 0; j < kWeighed; ++j) {
        if ((see_any >> j & 1) == 0) {
            v[j] = _mm512_setzero_ps();
            continue;
        }
        float* row = scores + j * kBlockPositions;
        const __m512 m = _mm512_set1_ps(highest[j]);
        __m512 s[kVectors];
        GR_UNROLL
        for (int i = 0; i < kVectors; ++i) {
            const __m512 log = _mm512_sub_ps(_mm512_loadu_ps(row + 16 * i), m);
            s[i] =
                _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(log, lowest, _CMP_NLT_UQ), exp_in_range_avx512(log));
            _mm512_storeu_ps(row + 16 * i, s[i]);
        }
        v[j] = _mm512_add_ps(_mm512_add_ps(s[0], s[1]), _mm512_add_ps(s[2], s[3]));
    }
    const __m256 factor_of = _mm512_castps512_ps256(factor);
    const __m256 sum =
        _mm256_add_ps(_mm256_mul_ps(_mm256_maskz_loadu_ps(those, sums), factor_of), fold_eight<Add>(v));
    _mm256_mask_storeu_ps(maximums, those, maximum);
    _mm256_mask_storeu_ps(sums, those, sum);
    _mm256_mask_storeu_ps(factors, those, factor_of);
}

}  // namespace

void weigh_scalar(float* scores, const BlockRange* ranges, int n_queries, float scale, float* maximums,
                  float* sums, float* factors) noexcept {
    for (int j = 0; j < n_queries; ++j, scores += kBlockPositions) {
        if (ranges[j].empty()) continue;
        float highest = maximums[j];
        for (int s = ranges[j].first; s < ranges[j].last; ++s) highest = std::max(highest, scores[s] * scale);
        double sum = 0;
        for (int s = 0; s < kBlockPositions; ++s) {
            const bool sees = s >= ranges[j].first && s < ranges[j].last;
            const float log = scores[s] * scale - highest;
            scores[s] = sees && !(log < kLowestLog) ? std::exp(log) : 0.0F;
            sum += static_cast<double>(scores[s]);
        }
        factors[j] = std::exp(maximums[j] - highest);
        sums[j] = sums[j] * factors[j] + static_cast<float>(sum);
        maximums[j] = highest;
    }
}

void accumulate_scalar(float* out, std::int64_t out_stride, const float* factors, int n_queries,
                       const float* weights, const float* values, std::int64_t value_stride, BlockRange range,
                       std::int64_t n_values, LinesAhead& /*ahead*/) noexcept {
    for (int j = 0; j < n_queries; ++j)
        for (std::int64_t i = 0; i < n_values; ++i) {
            double sum = static_cast<double>(factors[j]) * static_cast<double>(out[j * out_stride + i]);
            for (int s = range.first; s < range.last; ++s)
                sum += static_cast<double>(weights[j * kBlockPositions + s]) *
                       static_cast<double>(values[s * value_stride + i]);
            out[j * out_stride + i] = static_cast<float>(sum);
        }
}

GR_AVX2 void weigh_avx2(float* scores, const BlockRange* ranges, int n_queries, float scale, float* maximums,
                        float* sums, float* factors) noexcept {
    constexpr int kVectors = kBlockPositions / 8;
    const __m256 scales = _mm256_set1_ps(scale);
    const __m256 lowest = _mm256_set1_ps(kLowestLog);
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    for (int j = 0; j < n_queries; ++j, scores += kBlockPositions) {
        if (ranges[j].empty()) continue;
        __m256 s[kVectors];
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) {
            const __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(ranges[j].first - 8 * v), lanes);
            const __m256i within = _mm256_cmpgt_epi32(_mm256_set1_epi32(ranges[j].last - 8 * v), lanes);
            s[v] = _mm256_blendv_ps(_mm256_set1_ps(-kInfinity),
                                    _mm256_mul_ps(_mm256_loadu_ps(scores + 8 * v), scales),
                                    _mm256_castsi256_ps(_mm256_andnot_si256(before, within)));
        }
        __m256 highest = s[0];
        GR_UNROLL
        for (int v = 1; v < kVectors; ++v) highest = _mm256_max_ps(highest, s[v]);
        const float old = maximums[j];
        const float maximum = std::max(old, max_avx2(highest));
        const __m256 m = _mm256_set1_ps(maximum);
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) {
            const __m256 log = _mm256_sub_ps(s[v], m);
            s[v] = _mm256_and_ps(_mm256_cmp_ps(log, lowest, _CMP_NLT_UQ), exp_avx2(log));
            _mm256_storeu_ps(scores + 8 * v, s[v]);
        }
        // The lanes and the order of AVX-512.
        const __m256 low = _mm256_add_ps(_mm256_add_ps(s[0], s[2]), _mm256_add_ps(s[4], s[6]));
        const __m256 high = _mm256_add_ps(_mm256_add_ps(s[1], s[3]), _mm256_add_ps(s[5], s[7]));
        factors[j] = maximum == old ? 1.0F : _mm256_cvtss_f32(exp_avx2(_mm256_set1_ps(old - maximum)));
        sums[j] = sums[j] * factors[j] + sum_avx2(_mm256_add_ps(low, high));
        maximums[j] = maximum;
    }
}

GR_AVX2 void accumulate_avx2(float* out, std::int64_t out_stride, const float* factors, int n_queries,
                             const float* weights, const float* values, std::int64_t value_stride,
                             BlockRange range, std::int64_t n_values, LinesAhead& ahead) noexcept {
    const int size = group_size(n_queries);
    const int step = size <= 2 ? 32 : 16;
    for (std::int64_t i = 0; i < n_values; i += step)
        for (int first = 0; first < n_queries; first += size) {
            const int n = std::min(size, n_queries - first);
            float* to = out + first * out_stride + i;
            const float* w = weights + first * kBlockPositions;
            const LinesAhead::Lines lines = ahead.take(range.last - range.first);
            if (step == 32)
                accumulate_group_avx2<2, 4>(n, to, out_stride, factors + first, w, values + i, value_stride,
                                            range, lines);
            else
                accumulate_group_avx2<kGroup, 2>(n, to, out_stride, factors + first, w, values + i,
                                                 value_stride, range, lines);
        }
}

GR_AVX512 void weigh_avx512(float* scores, const BlockRange* ranges, int n_queries, float scale,
                            float* maximums, float* sums, float* factors) noexcept {
    for (int first = 0; first < n_queries; first += kWeighed)
        weigh_some_avx512(scores + first * kBlockPositions, ranges + first,
                          std::min(kWeighed, n_queries - first), scale, maximums + first, sums + first,
                          factors + first);
}

GR_AVX512 void accumulate_avx512(float* out, std::int64_t out_stride, const float* factors, int n_queries,
                                 const float* weights, const float* values, std::int64_t value_stride,
                                 BlockRange range, std::int64_t n_values, LinesAhead& ahead) noexcept {
    const int size = group_size(n_queries);
    for (std::int64_t i = 0; i < n_values; i += 64)
        for (int first = 0; first < n_queries; first += size) {
            const int n = std::min(size, n_queries - first);
            float* to = out + first * out_stride + i;
            const float* w = weights + first * kBlockPositions;
            const LinesAhead::Lines lines = ahead.take(range.last - range.first);
            if (n_values - i > 32)
                accumulate_group_avx512<kGroup, 4>(n, to, out_stride, factors + first, w, values + i,
                                                   value_stride, range, lines);
            else
                accumulate_group_avx512<kGroup, 2>(n, to, out_stride, factors + first, w, values + i,
                                                   value_stride, range, lines);
        }
}

}  // namespace greenroom::cpu
