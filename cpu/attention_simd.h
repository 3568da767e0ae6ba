#pragma once

// What the kernels of attention share, and their declarations for the table: scores in attention_scores.cpp,
// weights and results in attention_results.cpp.
//
// Scores and results are blocked alike: some queries times some vectors (of positions, of values) are summed
// up in registers; a step loads the vectors once and broadcasts one number of each query.

#include "cpu/attention_kernels.h"
#include "cpu/simd.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

// Queries whose sums are in registers together: 6 · 4 vectors of 32 registers, 6 · 2 of 16.
inline constexpr int kGroup = 6;

// Queries per group of at most `most`, so that n come out in groups of nearly the same size.
inline int group_size(int n, int most = kGroup) noexcept {
    const int n_groups = (n + most - 1) / most;
    return (n + n_groups - 1) / n_groups;
}

// Where lines ahead are brought to. A block is more than the first-level cache holds, but what is fetched
// into that one sets the processor to fetching ahead by itself, too: on Zen 5, a query per head, 25 instead
// of 23.5 GB/s. Cores with AMX wait at such fetches, with as many as the first-level cache can have under
// way: F16 is read 1.1 to 1.3 times as fast through the second-level one.
enum class Near { first_level, second_level };

// Inlined early, since g++ 12 takes a function that only prefetches for one without effect and drops the
// call.
template <Near kNear = Near::first_level>
[[gnu::always_inline]] inline void bring_near(const std::byte* line) noexcept {
    _mm_prefetch(line, kNear == Near::first_level ? _MM_HINT_T0 : _MM_HINT_T1);
}

// The sums of a tile in registers: out[j] of some vectors, times factors[j], and back.
template <int kQueries, int kVectors>
GR_AVX512_INLINE void load_sums_avx512(__m512 (*sums)[kVectors], const float* out,
                                       std::int64_t out_stride) noexcept {
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) sums[j][v] = _mm512_loadu_ps(out + j * out_stride + 16 * v);
    }
}
template <int kQueries, int kVectors>
GR_AVX512_INLINE void load_scaled_sums_avx512(__m512 (*sums)[kVectors], const float* out,
                                              std::int64_t out_stride, const float* factors) noexcept {
    load_sums_avx512<kQueries>(sums, out, out_stride);
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) sums[j][v] = _mm512_mul_ps(_mm512_set1_ps(factors[j]), sums[j][v]);
    }
}
template <int kQueries, int kVectors>
GR_AVX512_INLINE void store_sums_avx512(float* out, std::int64_t out_stride,
                                        const __m512 (*sums)[kVectors]) noexcept {
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(out + j * out_stride + 16 * v, sums[j][v]);
    }
}

// sums[j] += weights[j][s] · the vectors of values.load(s, …), the s of `range` in this order.
template <int kQueries, Near kNear = Near::first_level, int kVectors, class Values>
GR_AVX512_INLINE void add_weighted_avx512(__m512 (*sums)[kVectors], const float* weights, Values values,
                                          BlockRange range, LinesAhead::Lines lines) noexcept {
    for (int s = range.first; s < range.last; ++s) {
        bring_near<kNear>(lines[s - range.first]);
        __m512 value[kVectors];
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) value[v] = values.load(s, v);
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j) {
            const __m512 weight = _mm512_set1_ps(weights[j * kBlockPositions + s]);
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v) sums[j][v] = _mm512_fmadd_ps(weight, value[v], sums[j][v]);
        }
    }
}

// A bit for each position of a block.
inline std::uint64_t bits_of(BlockRange range) noexcept {
    if (range.empty()) return 0;
    return ~std::uint64_t{0} >> (kBlockPositions - range.last) & ~std::uint64_t{0} << range.first;
}

void pack_keys_scalar(float* keys, const float* rows, std::int64_t row_stride,
                      std::int64_t n_values) noexcept;
void pack_keys_avx2(float* keys, const float* rows, std::int64_t row_stride, std::int64_t n_values) noexcept;
void pack_keys_avx512(float* keys, const float* rows, std::int64_t row_stride,
                      std::int64_t n_values) noexcept;

void score_scalar(float* scores, const float* const* queries, int n_queries, const float* keys,
                  std::int64_t n_values, LinesAhead& ahead) noexcept;
void score_avx2(float* scores, const float* const* queries, int n_queries, const float* keys,
                std::int64_t n_values, LinesAhead& ahead) noexcept;
void score_avx512(float* scores, const float* const* queries, int n_queries, const float* keys,
                  std::int64_t n_values, LinesAhead& ahead) noexcept;

void weigh_scalar(float* scores, const BlockRange* ranges, int n_queries, float scale, float* maximums,
                  float* sums, float* factors) noexcept;
void weigh_avx2(float* scores, const BlockRange* ranges, int n_queries, float scale, float* maximums,
                float* sums, float* factors) noexcept;
void weigh_avx512(float* scores, const BlockRange* ranges, int n_queries, float scale, float* maximums,
                  float* sums, float* factors) noexcept;

void accumulate_scalar(float* out, std::int64_t out_stride, const float* factors, int n_queries,
                       const float* weights, const float* values, std::int64_t value_stride, BlockRange range,
                       std::int64_t n_values, LinesAhead& ahead) noexcept;
void accumulate_avx2(float* out, std::int64_t out_stride, const float* factors, int n_queries,
                     const float* weights, const float* values, std::int64_t value_stride, BlockRange range,
                     std::int64_t n_values, LinesAhead& ahead) noexcept;
void accumulate_avx512(float* out, std::int64_t out_stride, const float* factors, int n_queries,
                       const float* weights, const float* values, std::int64_t value_stride, BlockRange range,
                       std::int64_t n_values, LinesAhead& ahead) noexcept;

}  // namespace greenroom::cpu
