// The keys of a block turned around, and their scores: scalar reference, AVX2, AVX-512.

#include "cpu/attention_simd.h"
#include "cpu/transpose_simd.h"

#include <algorithm>

namespace greenroom::cpu {
namespace {

// Values of the keys that all queries meet before the next ones: 16 KiB, half of the first-level cache.
constexpr std::int64_t kScoreValues = 64;

// Adds to scores what the values [begin, end) give; begin = 0 starts them.
template <int kQueries, int kVectors>
GR_AVX2_INLINE void score_tile_avx2(float* scores, const float* const* queries, const float* keys,
                                    std::int64_t begin, std::int64_t end, LinesAhead::Lines lines) noexcept {
    __m256 sums[kQueries][kVectors];
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v)
            sums[j][v] =
                begin == 0 ? _mm256_setzero_ps() : _mm256_loadu_ps(scores + j * kBlockPositions + 8 * v);
    }
    for (std::int64_t i = begin; i < end; ++i) {
        bring_near(lines[i - begin]);
        __m256 key[kVectors];
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) key[v] = _mm256_loadu_ps(keys + i * kBlockPositions + 8 * v);
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j) {
            const __m256 query = _mm256_set1_ps(queries[j][i]);
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v) sums[j][v] = _mm256_fmadd_ps(query, key[v], sums[j][v]);
        }
    }
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) _mm256_storeu_ps(scores + j * kBlockPositions + 8 * v, sums[j][v]);
    }
}

// The tile for n <= kQueries.
template <int kQueries, int kVectors>
GR_AVX2_INLINE void score_group_avx2(int n, float* scores, const float* const* queries, const float* keys,
                                     std::int64_t begin, std::int64_t end, LinesAhead::Lines lines) noexcept {
    if (n == kQueries) {
        score_tile_avx2<kQueries, kVectors>(scores, queries, keys, begin, end, lines);
    } else if constexpr (kQueries > 1) {
        score_group_avx2<kQueries - 1, kVectors>(n, scores, queries, keys, begin, end, lines);
    }
}

// Adds to scores what the values [begin, end) give; begin = 0 starts them.
template <int kQueries, int kVectors>
GR_AVX512_INLINE void score_tile_avx512(float* scores, const float* const* queries, const float* keys,
                                        std::int64_t begin, std::int64_t end,
                                        LinesAhead::Lines lines) noexcept {
    __m512 sums[kQueries][kVectors] = {};
    if (begin > 0) load_sums_avx512<kQueries>(sums, scores, kBlockPositions);
    for (std::int64_t i = begin; i < end; ++i) {
        bring_near(lines[i - begin]);
        __m512 key[kVectors];
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) key[v] = _mm512_loadu_ps(keys + i * kBlockPositions + 16 * v);
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j) {
            const __m512 query = _mm512_set1_ps(queries[j][i]);
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v) sums[j][v] = _mm512_fmadd_ps(query, key[v], sums[j][v]);
        }
    }
    store_sums_avx512<kQueries>(scores, kBlockPositions, sums);
}

// The tile for n <= kQueries.
template <int kQueries, int kVectors>
GR_AVX512_INLINE void score_group_avx512(int n, float* scores, const float* const* queries, const float* keys,
                                         std::int64_t begin, std::int64_t end,
                                         LinesAhead::Lines lines) noexcept {
    if (n == kQueries) {
        score_tile_avx512<kQueries, kVectors>(scores, queries, keys, begin, end, lines);
    } else if constexpr (kQueries > 1) {
        score_group_avx512<kQueries - 1, kVectors>(n, scores, queries, keys, begin, end, lines);
    }
}

}  // namespace

void pack_keys_scalar(float* keys, const float* rows, std::int64_t row_stride,
                      std::int64_t n_values) noexcept {
    for (int r = 0; r < kPackedRows; ++r)
        for (std::int64_t i = 0; i < n_values; ++i) keys[i * kBlockPositions + r] = rows[r * row_stride + i];
}

void score_scalar(float* scores, const float* const* queries, int n_queries, const float* keys,
                  std::int64_t n_values, LinesAhead& /*ahead*/) noexcept {
    for (int j = 0; j < n_queries; ++j)
        for (int s = 0; s < kBlockPositions; ++s) {
            double sum = 0;
            for (std::int64_t i = 0; i < n_values; ++i)
                sum +=
                    static_cast<double>(queries[j][i]) * static_cast<double>(keys[i * kBlockPositions + s]);
            scores[j * kBlockPositions + s] = static_cast<float>(sum);
        }
}

// Four vectors hold four values of eight rows: rows r and r + 4 beside each other, whose blocks of 4 × 4 are
// then turned around.
GR_AVX2 void pack_keys_avx2(float* keys, const float* rows, std::int64_t row_stride,
                            std::int64_t n_values) noexcept {
    for (int half = 0; half < 2; ++half)
        for (std::int64_t i = 0; i < n_values; i += 4) {
            const float* from = rows + 8 * half * row_stride + i;
            __m256 v[4];
            GR_UNROLL
            for (int r = 0; r < 4; ++r)
                v[r] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from + r * row_stride)),
                                            _mm_loadu_ps(from + (r + 4) * row_stride), 1);
            transpose_quads(v);
            GR_UNROLL
            for (int k = 0; k < 4; ++k) _mm256_storeu_ps(keys + (i + k) * kBlockPositions + 8 * half, v[k]);
        }
}

GR_AVX2 void score_avx2(float* scores, const float* const* queries, int n_queries, const float* keys,
                        std::int64_t n_values, LinesAhead& ahead) noexcept {
    const int size = group_size(n_queries);
    for (std::int64_t begin = 0; begin < n_values; begin += kScoreValues) {
        const std::int64_t end = std::min(begin + kScoreValues, n_values);
        for (int first = 0; first < n_queries; first += size) {
            const int n = std::min(size, n_queries - first);
            float* to = scores + first * kBlockPositions;
            const LinesAhead::Lines lines = ahead.take(end - begin);
            if (size <= 2) {
                for (int p = 0; p < kBlockPositions; p += 32)
                    score_group_avx2<2, 4>(n, to + p, queries + first, keys + p, begin, end, lines);
            } else {
                for (int p = 0; p < kBlockPositions; p += 16)
                    score_group_avx2<kGroup, 2>(n, to + p, queries + first, keys + p, begin, end, lines);
            }
        }
    }
}

// Four vectors hold four values of all 16 rows: rows r, r + 4, r + 8 and r + 12 beside each other, put there
// by masked loads, which leave the one port for shuffles to the blocks of 4 × 4 that are then turned around.
GR_AVX512 void pack_keys_avx512(float* keys, const float* rows, std::int64_t row_stride,
                                std::int64_t n_values) noexcept {
    for (std::int64_t i = 0; i < n_values; i += 4) {
        __m512 v[4];
        GR_UNROLL
        for (int r = 0; r < 4; ++r) {
            const float* from = rows + r * row_stride + i;
            v[r] = _mm512_maskz_broadcast_f32x4(0x000f, _mm_loadu_ps(from));
            v[r] = _mm512_mask_broadcast_f32x4(v[r], 0x00f0, _mm_loadu_ps(from + 4 * row_stride));
            v[r] = _mm512_mask_broadcast_f32x4(v[r], 0x0f00, _mm_loadu_ps(from + 8 * row_stride));
            v[r] = _mm512_mask_broadcast_f32x4(v[r], 0xf000, _mm_loadu_ps(from + 12 * row_stride));
        }
        transpose_quads(v);
        GR_UNROLL
        for (int k = 0; k < 4; ++k) _mm512_storeu_ps(keys + (i + k) * kBlockPositions, v[k]);
    }
}

GR_AVX512 void score_avx512(float* scores, const float* const* queries, int n_queries, const float* keys,
                            std::int64_t n_values, LinesAhead& ahead) noexcept {
    const int size = group_size(n_queries);
    for (std::int64_t begin = 0; begin < n_values; begin += kScoreValues) {
        const std::int64_t end = std::min(begin + kScoreValues, n_values);
        for (int first = 0; first < n_queries; first += size) {
            const int n = std::min(size, n_queries - first);
            float* to = scores + first * kBlockPositions;
            const LinesAhead::Lines lines = ahead.take(end - begin);
            score_group_avx512<kGroup, 4>(n, to, queries + first, keys, begin, end, lines);
        }
    }
}

}  // namespace greenroom::cpu
