// So many rows of the state as the first-level cache holds go through all tokens; several at once, so that
// their sums do not wait for each other and become numbers beside each other in a few instructions.

#include "cpu/delta_steps.h"

#include "cpu/simd.h"

#include <algorithm>
#include <cmath>

namespace greenroom::cpu {
namespace {

constexpr std::int64_t kRowsInCache = 32;

struct Scalar {
    // A token of the rows [row, last), which `state` has.
    static void step(const DeltaSteps& steps, const DeltaToken& token, std::int64_t row, std::int64_t last,
                     const float* state, float scale) noexcept {
        const std::int64_t n = steps.key_dim;
        for (; row < last; ++row) {
            const float* from = state + row * n;
            float* to = steps.next_state + row * n;
            double with_key = 0;
            double with_query = 0;
            for (std::int64_t j = 0; j < n; ++j) {
                with_key += static_cast<double>(from[j]) * static_cast<double>(token.key[j]);
                with_query += static_cast<double>(from[j]) * static_cast<double>(token.query[j]);
            }
            const float c = token.beta * (token.value[row] - token.alpha * static_cast<float>(with_key));
            for (std::int64_t j = 0; j < n; ++j) to[j] = token.alpha * from[j] + c * token.key[j];
            token.out[row] = scale * (token.alpha * static_cast<float>(with_query) + c * token.key_query);
        }
    }
};

struct Avx2 {
    static constexpr int kRows = 4;
    static constexpr int kLanes = 8;

    // Four sums.
    GR_AVX2_INLINE static __m128 sums(const __m256* v) noexcept {
        const __m256 pairs = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
        return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
    }

    // kRows rows.
    GR_AVX2_INLINE static void step_group(const DeltaSteps& steps, const DeltaToken& token, std::int64_t row,
                                          const float* state, float scale) noexcept {
        const std::int64_t n = steps.key_dim;
        const float* from = state + row * n;
        float* to = steps.next_state + row * n;
        __m256 with_key[kRows] = {};
        __m256 with_query[kRows] = {};
        for (std::int64_t j = 0; j < n; j += kLanes) {
            const __m256 key = _mm256_loadu_ps(token.key + j);
            const __m256 query = _mm256_loadu_ps(token.query + j);
            GR_UNROLL
            for (int r = 0; r < kRows; ++r) {
                const __m256 s = _mm256_loadu_ps(from + r * n + j);
                with_key[r] = _mm256_fmadd_ps(s, key, with_key[r]);
                with_query[r] = _mm256_fmadd_ps(s, query, with_query[r]);
            }
        }
        const __m128 found = _mm_mul_ps(_mm_set1_ps(token.alpha), sums(with_key));
        const __m128 corrections =
            _mm_mul_ps(_mm_set1_ps(token.beta), _mm_sub_ps(_mm_loadu_ps(token.value + row), found));
        const __m128 results = _mm_fmadd_ps(_mm_set1_ps(token.alpha), sums(with_query),
                                            _mm_mul_ps(corrections, _mm_set1_ps(token.key_query)));
        _mm_storeu_ps(token.out + row, _mm_mul_ps(_mm_set1_ps(scale), results));
        float c[kRows];
        _mm_storeu_ps(c, corrections);
        const __m256 alpha = _mm256_set1_ps(token.alpha);
        for (std::int64_t j = 0; j < n; j += kLanes) {
            const __m256 key = _mm256_loadu_ps(token.key + j);
            GR_UNROLL
            for (int r = 0; r < kRows; ++r)
                _mm256_storeu_ps(to + r * n + j,
                                 _mm256_fmadd_ps(_mm256_set1_ps(c[r]), key,
                                                 _mm256_mul_ps(alpha, _mm256_loadu_ps(from + r * n + j))));
        }
    }

    // Rows that are no whole kRows, or not of whole vectors, are Scalar's.
    GR_AVX2 static void step(const DeltaSteps& steps, const DeltaToken& token, std::int64_t row,
                             std::int64_t last, const float* state, float scale) noexcept {
        if (steps.key_dim % kLanes == 0)
            for (; row + kRows <= last; row += kRows) step_group(steps, token, row, state, scale);
        Scalar::step(steps, token, row, last, state, scale);
    }
};

struct Avx512 {
    static constexpr int kRows = 8;
    static constexpr int kLanes = 16;

    // Eight sums.
    GR_AVX512_INLINE static __m256 sums(const __m512* v) noexcept {
        __m512 fours[2];  // in each 128-bit lane what is left of one vector
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            const __m512* of = v + 4 * h;
            const __m512 first = _mm512_add_ps(_mm512_shuffle_f32x4(of[0], of[1], 0x44),
                                               _mm512_shuffle_f32x4(of[0], of[1], 0xee));
            const __m512 second = _mm512_add_ps(_mm512_shuffle_f32x4(of[2], of[3], 0x44),
                                                _mm512_shuffle_f32x4(of[2], of[3], 0xee));
            fours[h] = _mm512_add_ps(_mm512_shuffle_f32x4(first, second, 0x88),
                                     _mm512_shuffle_f32x4(first, second, 0xdd));
        }
        const __m512 twos =
            _mm512_add_ps(_mm512_unpacklo_ps(fours[0], fours[1]), _mm512_unpackhi_ps(fours[0], fours[1]));
        const __m512 ones = _mm512_add_ps(twos, _mm512_shuffle_ps(twos, twos, 0x4e));
        const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 0, 0, 0, 0, 0, 0, 0, 0);
        return _mm512_castps512_ps256(_mm512_permutexvar_ps(order, ones));
    }

    // kRows rows. Asks for the ones after them.
    GR_AVX512_INLINE static void step_group(const DeltaSteps& steps, const DeltaToken& token,
                                            std::int64_t row, const float* state, float scale) noexcept {
        const std::int64_t n = steps.key_dim;
        const float* from = state + row * n;
        float* to = steps.next_state + row * n;
        __m512 with_key[kRows] = {};
        __m512 with_query[kRows] = {};
        for (std::int64_t j = 0; j < n; j += kLanes) {
            const __m512 key = _mm512_loadu_ps(token.key + j);
            const __m512 query = _mm512_loadu_ps(token.query + j);
            GR_UNROLL
            for (int r = 0; r < kRows; ++r) {
                const __m512 s = _mm512_loadu_ps(from + r * n + j);
                __builtin_prefetch(from + (kRows + r) * n + j);
                with_key[r] = _mm512_fmadd_ps(s, key, with_key[r]);
                with_query[r] = _mm512_fmadd_ps(s, query, with_query[r]);
            }
        }
        const __m256 found = _mm256_mul_ps(_mm256_set1_ps(token.alpha), sums(with_key));
        const __m256 corrections = _mm256_mul_ps(_mm256_set1_ps(token.beta),
                                                 _mm256_sub_ps(_mm256_loadu_ps(token.value + row), found));
        const __m256 results = _mm256_fmadd_ps(_mm256_set1_ps(token.alpha), sums(with_query),
                                               _mm256_mul_ps(corrections, _mm256_set1_ps(token.key_query)));
        _mm256_storeu_ps(token.out + row, _mm256_mul_ps(_mm256_set1_ps(scale), results));
        float c[kRows];
        _mm256_storeu_ps(c, corrections);
        const __m512 alpha = _mm512_set1_ps(token.alpha);
        for (std::int64_t j = 0; j < n; j += kLanes) {
            const __m512 key = _mm512_loadu_ps(token.key + j);
            GR_UNROLL
            for (int r = 0; r < kRows; ++r)
                _mm512_storeu_ps(to + r * n + j,
                                 _mm512_fmadd_ps(_mm512_set1_ps(c[r]), key,
                                                 _mm512_mul_ps(alpha, _mm512_loadu_ps(from + r * n + j))));
        }
    }

    // Rows that are no whole kRows, or not of whole vectors, are Scalar's.
    GR_AVX512 static void step(const DeltaSteps& steps, const DeltaToken& token, std::int64_t row,
                               std::int64_t last, const float* state, float scale) noexcept {
        if (steps.key_dim % kLanes == 0)
            for (; row + kRows <= last; row += kRows) step_group(steps, token, row, state, scale);
        Scalar::step(steps, token, row, last, state, scale);
    }
};

template <class Kernel>
void delta_steps(const DeltaSteps& steps) noexcept {
    const float scale = 1.0F / std::sqrt(static_cast<float>(steps.key_dim));
    for (std::int64_t first = 0; first < steps.value_dim; first += kRowsInCache) {
        const std::int64_t last = std::min(first + kRowsInCache, steps.value_dim);
        const float* state = steps.state;
        for (std::int64_t t = 0; t < steps.n_tokens; ++t, state = steps.next_state)
            Kernel::step(steps, steps.tokens[t], first, last, state, scale);
    }
}

}  // namespace

void delta_steps_scalar(const DeltaSteps& steps) noexcept { delta_steps<Scalar>(steps); }
void delta_steps_avx2(const DeltaSteps& steps) noexcept { delta_steps<Avx2>(steps); }
void delta_steps_avx512(const DeltaSteps& steps) noexcept { delta_steps<Avx512>(steps); }

}  // namespace greenroom::cpu
