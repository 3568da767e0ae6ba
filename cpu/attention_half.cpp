#include "cpu/attention_half.h"

#include "cpu/attention_simd.h"
#include "cpu/half_simd.h"
#include "cpu/transpose_simd.h"

#include <algorithm>

namespace greenroom::cpu {
namespace {

// Queries whose sums of two vectors are in registers together.
constexpr int kHalfGroup = 8;
constexpr int kVectors = 2;
constexpr int kPairVectors = kBlockPositions / 16;
// Values of the keys that all queries meet before the next ones: 16 KiB, a third of the first-level cache.
constexpr std::int64_t kScoreValues = 128;

GR_AVX512 void pack_keys_avx512(std::uint16_t* keys, const std::byte* const* rows,
                                std::int64_t n_values) noexcept {
    // Numbers 0, 2, 4, …, then 1, 3, 5, …
    const __m512i order = _mm512_maskz_cvtepu8_epi16(
        ~__mmask32{0}, _mm256_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,  //
                                        1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31));
    for (int v = 0; v < kPairVectors; ++v)
        for (std::int64_t i = 0; i < n_values; i += 16) {
            __m256 halves[16];
            GR_UNROLL
            for (int r = 0; r < 16; ++r)
                halves[r] = _mm256_loadu_ps(
                    reinterpret_cast<const float*>(rows[16 * v + r] + i * std::int64_t{sizeof *keys}));
            __m512 turned[8];
            transpose_16x8_avx512(halves, turned);
            GR_UNROLL
            for (int k = 0; k < 8; ++k)
                _mm512_storeu_si512(
                    keys + (i / 2 + k) * 2 * kBlockPositions + 32 * v,
                    _mm512_maskz_permutexvar_epi16(~__mmask32{0}, order, _mm512_castps_si512(turned[k])));
        }
}

// Adds to the scores of 32 positions what the values [begin, end) give; begin = 0 starts them.
template <class Half, Near kNear, int kQueries>
GR_AVX512 [[gnu::noinline]] void score_tile(float* scores, const float* const* queries,
                                            const std::uint16_t* keys, std::int64_t begin, std::int64_t end,
                                            LinesAhead::Lines lines) noexcept {
    __m512 sums[kQueries][kVectors] = {};
    if (begin > 0) load_sums_avx512<kQueries>(sums, scores, kBlockPositions);
    for (std::int64_t i = begin; i < end; i += 2) {
        GR_UNROLL
        for (int k = 0; k < 2; ++k) {
            bring_near<kNear>(lines[i + k - begin]);
            __m512 key[kVectors];
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v)
                key[v] = load_halves_avx512<Half>(keys + i * kBlockPositions + 32 * v + 16 * k);
            GR_UNROLL
            for (int j = 0; j < kQueries; ++j) {
                const __m512 query = _mm512_set1_ps(queries[j][i + k]);
                GR_UNROLL
                for (int v = 0; v < kVectors; ++v) sums[j][v] = _mm512_fmadd_ps(query, key[v], sums[j][v]);
            }
        }
    }
    store_sums_avx512<kQueries>(scores, kBlockPositions, sums);
}

// The tile for n <= kQueries.
template <class Half, Near kNear, int kQueries>
GR_AVX512_INLINE void score_group(int n, float* scores, const float* const* queries,
                                  const std::uint16_t* keys, std::int64_t begin, std::int64_t end,
                                  LinesAhead::Lines lines) noexcept {
    if (n == kQueries) {
        score_tile<Half, kNear, kQueries>(scores, queries, keys, begin, end, lines);
    } else if constexpr (kQueries > 1) {
        score_group<Half, kNear, kQueries - 1>(n, scores, queries, keys, begin, end, lines);
    }
}

template <class Half, Near kNear>
GR_AVX512 void score_avx512(float* scores, const float* const* queries, int n_queries,
                            const std::uint16_t* keys, std::int64_t n_values, LinesAhead& ahead) noexcept {
    const int size = group_size(n_queries, kHalfGroup);
    for (std::int64_t begin = 0; begin < n_values; begin += kScoreValues) {
        const std::int64_t end = std::min(begin + kScoreValues, n_values);
        for (int first = 0; first < n_queries; first += size)
            for (int p = 0; p < kBlockPositions; p += 16 * kVectors)
                score_group<Half, kNear, kHalfGroup>(std::min(size, n_queries - first),
                                                     scores + first * kBlockPositions + p, queries + first,
                                                     keys + 2 * p, begin, end, ahead.take(end - begin));
    }
}

template <class Half>
struct ValuesOfHalves {
    const std::byte* const* rows;
    std::int64_t at;

    GR_AVX512_INLINE __m512 load(int s, int v) const noexcept {
        return load_halves_avx512<Half>(rows[s] + at + 32 * v);
    }
};

// out[j] of 32 values, which begin `at` bytes after those of a row.
template <class Half, Near kNear, int kQueries>
GR_AVX512 [[gnu::noinline]] void accumulate_tile(float* out, std::int64_t out_stride, const float* factors,
                                                 const float* weights, const std::byte* const* rows,
                                                 std::int64_t at, BlockRange range,
                                                 LinesAhead::Lines lines) noexcept {
    __m512 sums[kQueries][kVectors];
    load_scaled_sums_avx512<kQueries>(sums, out, out_stride, factors);
    add_weighted_avx512<kQueries, kNear>(sums, weights, ValuesOfHalves<Half>{rows, at}, range, lines);
    store_sums_avx512<kQueries>(out, out_stride, sums);
}

template <class Half, Near kNear, int kQueries>
GR_AVX512_INLINE void accumulate_group(int n, float* out, std::int64_t out_stride, const float* factors,
                                       const float* weights, const std::byte* const* rows, std::int64_t at,
                                       BlockRange range, LinesAhead::Lines lines) noexcept {
    if (n == kQueries) {
        accumulate_tile<Half, kNear, kQueries>(out, out_stride, factors, weights, rows, at, range, lines);
    } else if constexpr (kQueries > 1) {
        accumulate_group<Half, kNear, kQueries - 1>(n, out, out_stride, factors, weights, rows, at, range,
                                                    lines);
    }
}

template <class Half, Near kNear>
GR_AVX512 void accumulate_avx512(float* out, std::int64_t out_stride, const float* factors, int n_queries,
                                 const float* weights, const std::byte* const* rows, BlockRange range,
                                 std::int64_t n_values, LinesAhead& ahead) noexcept {
    const int size = group_size(n_queries, kHalfGroup);
    for (std::int64_t i = 0; i < n_values; i += 16 * kVectors)
        for (int first = 0; first < n_queries; first += size)
            accumulate_group<Half, kNear, kHalfGroup>(
                std::min(size, n_queries - first), out + first * out_stride + i, out_stride, factors + first,
                weights + first * kBlockPositions, rows, i * std::int64_t{sizeof(std::uint16_t)}, range,
                ahead.take(range.last - range.first));
}

template <class Half, Near kNear>
constexpr HalfAttention kKernels{pack_keys_avx512, score_avx512<Half, kNear>, accumulate_avx512<Half, kNear>};

template <class Half>
const HalfAttention* kernels_for(Isa isa) noexcept {
    return isa == Isa::amx ? &kKernels<Half, Near::second_level> : &kKernels<Half, Near::first_level>;
}

}  // namespace

const HalfAttention* find_half_attention(quant::Type type, std::int64_t n_values, Isa isa) noexcept {
    static_assert(16 * kVectors == kValueStep);
    if (vectors_of(isa) != Isa::avx512 || n_values % kValueStep != 0) return nullptr;
    if (type == quant::Type::F16) return kernels_for<HalfF16>(isa);
    return type == quant::Type::BF16 ? kernels_for<HalfBF16>(isa) : nullptr;
}

}  // namespace greenroom::cpu
