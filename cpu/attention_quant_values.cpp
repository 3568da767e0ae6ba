// The weighted sums of quantized values: scalar reference, AVX-512; and the table of attention over quantized
// rows.

#include "cpu/attention_quant.h"
#include "cpu/attention_quant_simd.h"
#include "quant/blocks.h"
#include "quant/decode.h"

#include <algorithm>

namespace greenroom::cpu {
namespace {

constexpr int kUnitValues = 32;
// Queries whose sums of 32 values are in registers together.
constexpr int kResultGroup = 8;
constexpr float kLargestWeight = 32767.0F;
// Largest |y_s| below this add nothing: the inverse of what they are divided by might be infinite.
constexpr float kLeast = 0x1p-100F;

constexpr int kVectors = kBlockPositions / 16;

// y of 16 positions: 0 where they are not seen. Most blocks are seen as a whole, for which no masks are made:
// they would take longer than the products.
template <bool kWhole>
GR_AVX512_INLINE __m512 scaled_weights(const float* weights, std::uint64_t seen, const __m512* scales,
                                       int v) noexcept {
    const __m512 weight = _mm512_loadu_ps(weights + 16 * v);
    if constexpr (kWhole) return _mm512_mul_ps(weight, scales[v]);
    return _mm512_maskz_mul_ps(static_cast<__mmask16>(seen >> 16 * v), weight, scales[v]);
}

// The largest of the 16 lanes of each of 8 vectors.
GR_AVX512_INLINE __m256i largest_of_eight(const __m512i* v) noexcept {
    __m512i four[2];
    GR_UNROLL
    for (int i = 0; i < 2; ++i) {
        const __m512i* of = v + 4 * i;
        const __m512i first = _mm512_maskz_max_epi32(0xffff, _mm512_unpacklo_epi32(of[0], of[1]),
                                                     _mm512_unpackhi_epi32(of[0], of[1]));
        const __m512i second = _mm512_maskz_max_epi32(0xffff, _mm512_unpacklo_epi32(of[2], of[3]),
                                                      _mm512_unpackhi_epi32(of[2], of[3]));
        four[i] = _mm512_maskz_max_epi32(0xffff, _mm512_unpacklo_epi64(first, second),
                                         _mm512_unpackhi_epi64(first, second));
    }
    // In each 128-bit lane of four[i] the largest of a quarter of v[4i] … v[4i + 3].
    __m256i halves[2];
    GR_UNROLL
    for (int i = 0; i < 2; ++i)
        halves[i] = _mm256_max_epi32(_mm512_maskz_extracti32x8_epi32(0xff, four[i], 0),
                                     _mm512_maskz_extracti32x8_epi32(0xff, four[i], 1));
    return _mm256_max_epi32(_mm256_permute2x128_si256(halves[0], halves[1], 0x20),
                            _mm256_permute2x128_si256(halves[0], halves[1], 0x31));
}

// The weights of a group of queries as integers, and e of each, for some units.
struct Words {
    static constexpr int kUnits = 4;
    alignas(64) std::int16_t words[kUnits][kResultGroup * kBlockPositions];
    float steps[kUnits][kResultGroup];
};

// All units get their steps before any gets its words, so that nothing waits for what e takes.
template <bool kWhole>
GR_AVX512 [[gnu::noinline]] void quantize_weights(Words& to, const float* weights, const std::uint64_t* seen,
                                                  int n_queries, const __m512 (*scales)[kVectors],
                                                  int n_units) noexcept {
    float inverses[Words::kUnits][kResultGroup];
    // Magnitudes have the order of their bits, with infinity and NaN at the top.
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (int u = 0; u < n_units; ++u) {
        __m512i largest[kResultGroup];
        for (int j = 0; j < n_queries; ++j) {
            __m512i bits[kVectors];
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v)
                bits[v] = _mm512_and_si512(_mm512_castps_si512(scaled_weights<kWhole>(
                                               weights + j * kBlockPositions, seen[j], scales[u], v)),
                                           magnitude);
            largest[j] = _mm512_maskz_max_epi32(0xffff, _mm512_maskz_max_epi32(0xffff, bits[0], bits[1]),
                                                _mm512_maskz_max_epi32(0xffff, bits[2], bits[3]));
        }
        for (int j = n_queries; j < kResultGroup; ++j) largest[j] = _mm512_setzero_si512();
        const __m256 most = _mm256_castsi256_ps(largest_of_eight(largest));
        const __m256 some = _mm256_cmp_ps(most, _mm256_set1_ps(kLeast), _CMP_NLT_UQ);
        _mm256_storeu_ps(inverses[u],
                         _mm256_and_ps(some, _mm256_div_ps(_mm256_set1_ps(kLargestWeight), most)));
        _mm256_storeu_ps(to.steps[u],
                         _mm256_and_ps(some, _mm256_mul_ps(most, _mm256_set1_ps(1.0F / kLargestWeight))));
    }
    // Leaves the nearest integer in the lowest bits.
    const __m512 rounder = _mm512_set1_ps(0x1.8p+23F);
    for (int u = 0; u < n_units; ++u)
        for (int j = 0; j < n_queries; ++j) {
            const __m512 inverse = _mm512_set1_ps(inverses[u][j]);
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v) {
                const __m512 y = scaled_weights<kWhole>(weights + j * kBlockPositions, seen[j], scales[u], v);
                const __m512i integers = _mm512_castps_si512(_mm512_fmadd_ps(y, inverse, rounder));
                _mm256_storeu_si256(reinterpret_cast<__m256i*>(to.words[u] + j * kBlockPositions + 16 * v),
                                    _mm512_maskz_cvtepi32_epi16(0xffff, integers));
            }
        }
}

// Blocks of two positions as words, those of a value beside each other.
struct ValuesQ8_0 {
    using Block = quant::BlockQ8_0;

    // Values 0 – 7 and 16 – 23 in the first vector.
    GR_AVX512_INLINE static void load(__m512i* values, const std::byte* even, const std::byte* odd) noexcept {
        const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(even + 2));
        const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(odd + 2));
        values[0] = _mm512_maskz_cvtepi8_epi16(~__mmask32{0}, _mm256_unpacklo_epi8(a, b));
        values[1] = _mm512_maskz_cvtepi8_epi16(~__mmask32{0}, _mm256_unpackhi_epi8(a, b));
    }

    // Sums that lie like these in the order of values.
    GR_AVX512_INLINE static void put_in_order(__m512i* sums) noexcept {
        const __m512i first = _mm512_maskz_shuffle_i32x4(0xffff, sums[0], sums[1], 0x44);
        sums[1] = _mm512_maskz_shuffle_i32x4(0xffff, sums[0], sums[1], 0xee);
        sums[0] = first;
    }
};

struct ValuesQ4_0 {
    using Block = quant::BlockQ4_0;

    GR_AVX512_INLINE static void load(__m512i* values, const std::byte* even, const std::byte* odd) noexcept {
        const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(even + 2));
        const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(odd + 2));
        const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_unpacklo_epi8(a, b)),
                                                     _mm_unpackhi_epi8(a, b), 1);
        const __m512i words = _mm512_maskz_cvtepu8_epi16(~__mmask32{0}, both);
        const __m512i eight = _mm512_set1_epi16(8);
        values[0] = _mm512_sub_epi16(_mm512_and_si512(words, _mm512_set1_epi16(15)), eight);
        values[1] = _mm512_sub_epi16(_mm512_srli_epi16(words, 4), eight);
    }

    GR_AVX512_INLINE static void put_in_order(__m512i* /*sums*/) noexcept {}
};

// out[j] of 32 values; `at` is where their blocks begin in the rows.
template <class Values, int kQueries>
GR_AVX512 [[gnu::noinline]] void accumulate_tile_avx512(float* out, std::int64_t out_stride,
                                                        const float* factors, const std::int16_t* weights,
                                                        const float* steps, const std::byte* const* rows,
                                                        std::int64_t at, BlockRange range,
                                                        LinesAhead::Lines lines) noexcept {
    __m512i sums[kQueries][2];
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) sums[j][0] = sums[j][1] = _mm512_setzero_si512();
    for (int s = range.first / 2 * 2; s < range.last; s += 2) {
        bring_near(lines[s - range.first]);
        bring_near(lines[s - range.first + 1]);
        __m512i values[2];
        Values::load(values, rows[s] + at, rows[s + 1] + at);
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j) {
            const __m512i weight = broadcast_avx512(weights + j * kBlockPositions + s);
            add_products_avx512(sums[j][0], values[0], weight);
            add_products_avx512(sums[j][1], values[1], weight);
        }
    }
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        Values::put_in_order(sums[j]);
        const __m512 step = _mm512_set1_ps(steps[j]);
        const __m512 factor = _mm512_set1_ps(factors[j]);
        GR_UNROLL
        for (int v = 0; v < 2; ++v) {
            float* to = out + j * out_stride + 16 * v;
            const __m512 before = _mm512_mul_ps(factor, _mm512_loadu_ps(to));
            const __m512 sum = _mm512_maskz_cvtepi32_ps(0xffff, sums[j][v]);
            _mm512_storeu_ps(to, _mm512_fmadd_ps(step, sum, before));
        }
    }
}

template <class Values, int kQueries>
GR_AVX512_INLINE void accumulate_group_avx512(int n, float* out, std::int64_t out_stride,
                                              const float* factors, const std::int16_t* weights,
                                              const float* steps, const std::byte* const* rows,
                                              std::int64_t at, BlockRange range,
                                              LinesAhead::Lines lines) noexcept {
    if (n == kQueries) {
        accumulate_tile_avx512<Values, kQueries>(out, out_stride, factors, weights, steps, rows, at, range,
                                                 lines);
    } else if constexpr (kQueries > 1) {
        accumulate_group_avx512<Values, kQueries - 1>(n, out, out_stride, factors, weights, steps, rows, at,
                                                      range, lines);
    }
}

// The same number of steps for whatever range, so that all queries of a group go together: weights of 0 leave
// out what one of them does not see.
template <class Values>
GR_AVX512 void accumulate_avx512(float* out, std::int64_t out_stride, const float* factors,
                                 const BlockRange* ranges, BlockRange all, int n_queries,
                                 const float* weights, const std::byte* const* rows, std::int64_t n_values,
                                 LinesAhead& ahead) noexcept {
    const int size = group_size(n_queries, kResultGroup);
    std::uint64_t seen[kTileQueries];
    float factor[kTileQueries];
    for (int j = 0; j < n_queries; ++j) {
        seen[j] = bits_of(ranges[j]);
        factor[j] = ranges[j].empty() ? 1.0F : factors[j];
    }
    const std::int64_t n_units = n_values / kUnitValues;
    for (std::int64_t begin = 0; begin < n_units; begin += Words::kUnits) {
        const auto n_together = static_cast<int>(std::min<std::int64_t>(Words::kUnits, n_units - begin));
        const auto place = [&](std::int64_t unit) noexcept {
            return (begin + unit) * static_cast<std::int64_t>(sizeof(typename Values::Block));
        };
        __m512 scales[Words::kUnits][kVectors];
        for (int u = 0; u < n_together; u += 2)
            load_scales_avx512(scales[u], scales[u + 1], rows, place(u),
                               place(std::min(u + 1, n_together - 1)));
        for (int first = 0; first < n_queries; first += size) {
            const int n = std::min(size, n_queries - first);
            const float* w = weights + first * kBlockPositions;
            Words words;
            if (std::all_of(seen + first, seen + first + n, [](std::uint64_t bits) { return ~bits == 0; }))
                quantize_weights<true>(words, w, seen + first, n, scales, n_together);
            else
                quantize_weights<false>(words, w, seen + first, n, scales, n_together);
            for (int u = 0; u < n_together; ++u)
                accumulate_group_avx512<Values, kResultGroup>(
                    n, out + first * out_stride + kUnitValues * (begin + u), out_stride, factor + first,
                    words.words[u], words.steps[u], rows, place(u), all, ahead.take(kBlockPositions));
        }
    }
}

template <class Block>
void accumulate_scalar(float* out, std::int64_t out_stride, const float* factors, const BlockRange* ranges,
                       BlockRange /*all*/, int n_queries, const float* weights, const std::byte* const* rows,
                       std::int64_t n_values, LinesAhead& /*ahead*/) noexcept {
    for (std::int64_t unit = 0; unit < n_values / kUnitValues; ++unit) {
        float values[kBlockPositions][kUnitValues];
        for (int s = 0; s < kBlockPositions; ++s)
            quant::decode_row(Block::kType, rows[s] + unit * static_cast<std::int64_t>(sizeof(Block)),
                              values[s], kUnitValues);
        for (int j = 0; j < n_queries; ++j) {
            if (ranges[j].empty()) continue;
            for (int i = 0; i < kUnitValues; ++i) {
                float& to = out[j * out_stride + unit * kUnitValues + i];
                double sum = static_cast<double>(factors[j]) * static_cast<double>(to);
                for (int s = ranges[j].first; s < ranges[j].last; ++s)
                    sum += static_cast<double>(weights[j * kBlockPositions + s]) *
                           static_cast<double>(values[s][i]);
                to = static_cast<float>(sum);
            }
        }
    }
}

constexpr QuantAttention kScalarQ8_0{pack_keys_q8_0_scalar, score_quant_scalar,
                                     accumulate_scalar<quant::BlockQ8_0>};
constexpr QuantAttention kScalarQ4_0{pack_keys_q4_0_scalar, score_quant_scalar,
                                     accumulate_scalar<quant::BlockQ4_0>};
constexpr QuantAttention kAvx512Q8_0{pack_keys_q8_0_avx512, score_quant_avx512,
                                     accumulate_avx512<ValuesQ8_0>};
constexpr QuantAttention kAvx512Q4_0{pack_keys_q4_0_avx512, score_quant_avx512,
                                     accumulate_avx512<ValuesQ4_0>};

}  // namespace

const QuantAttention* find_quant_attention(quant::Type type, Isa isa) noexcept {
    const bool q8_0 = type == quant::Type::Q8_0;
    if (!q8_0 && type != quant::Type::Q4_0) return nullptr;
    if (vectors_of(isa) == Isa::avx512) return q8_0 ? &kAvx512Q8_0 : &kAvx512Q4_0;
    if (isa == Isa::scalar) return q8_0 ? &kScalarQ8_0 : &kScalarQ4_0;
    return nullptr;
}

}  // namespace greenroom::cpu
