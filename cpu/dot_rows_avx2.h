#pragma once

// QuantDot::dot_rows for AVX2, see dot_rows.h.

#include "cpu/dot_rows.h"

#include <cstdint>

namespace greenroom::cpu {

// For 32 weights the scales of their groups, one per word.
GR_AVX2_INLINE __m256i spread_scales_avx2(__m128i scales, int i) noexcept {
    const __m128i bytes = _mm_set1_epi16(static_cast<short>((2 * i) | (2 * i + 1) << 8));
    return _mm256_broadcastsi128_si256(_mm_shuffle_epi8(scales, bytes));
}
GR_AVX2_INLINE __m256i spread_scales_avx2(__m256i scales, int i) noexcept {
    const __m128i eight = i < 4 ? _mm256_castsi256_si128(scales) : _mm256_extracti128_si256(scales, 1);
    const int at = 2 * i % 8;
    const __m256i bytes =
        _mm256_setr_m128i(_mm_set1_epi16(static_cast<short>((2 * at) | (2 * at + 1) << 8)),
                          _mm_set1_epi16(static_cast<short>((2 * at + 2) | (2 * at + 3) << 8)));
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(eight), bytes);
}

// Sums of two neighbouring products each; those with integer scales without the weights' offset.
template <class Format>
GR_AVX2_INLINE __m256i byte_products_avx2(__m256i w, const std::int8_t* plane,
                                          const std::int16_t* offsets) noexcept {
    const __m256i products =
        _mm256_maddubs_epi16(w, _mm256_load_si256(reinterpret_cast<const __m256i*>(plane)));
    if constexpr (kIntegerScales<Format> && Format::kOffset != 0)
        return _mm256_sub_epi16(products, _mm256_load_si256(reinterpret_cast<const __m256i*>(offsets)));
    else
        return products;
}

// The sums of the units of 256 values of a row, as unit_lanes_avx512(): a vector of 8 lanes per unit.
template <class Format>
GR_AVX2_INLINE void unit_lanes_avx2(const typename Format::Block* block, const SplitActivations& x,
                                    __m256i* units) noexcept {
    __m256i w[8];
    Format::weights_avx2(block, w);
    if constexpr (kIntegerScales<Format>) {
        const auto scales = Format::scales(block);
        constexpr int kVectors = Format::kUnit / 32;
        GR_UNROLL
        for (int u = 0; u < 8 / kVectors; ++u) {
            __m256i high = _mm256_setzero_si256();
            __m256i low = _mm256_setzero_si256();
            GR_UNROLL
            for (int i = u * kVectors; i < (u + 1) * kVectors; ++i) {
                const __m256i scale = spread_scales_avx2(scales, i);
                high = _mm256_add_epi32(
                    high,
                    _mm256_madd_epi16(
                        byte_products_avx2<Format>(w[i], x.high + 32 * i, x.high_offsets + 16 * i), scale));
                low = _mm256_add_epi32(
                    low,
                    _mm256_madd_epi16(
                        byte_products_avx2<Format>(w[i], x.low + 32 * i, x.low_offsets + 16 * i), scale));
            }
            units[u] = _mm256_add_epi32(_mm256_slli_epi32(high, 7), low);
        }
    } else {
        const __m256i ones = _mm256_set1_epi16(1);
        GR_UNROLL
        for (int i = 0; i < 8; ++i)
            units[i] = _mm256_add_epi32(
                _mm256_slli_epi32(
                    _mm256_madd_epi16(
                        byte_products_avx2<Format>(w[i], x.high + 32 * i, x.high_offsets + 16 * i), ones),
                    7),
                _mm256_madd_epi16(byte_products_avx2<Format>(w[i], x.low + 32 * i, x.low_offsets + 16 * i),
                                  ones));
    }
}

// What 256 values of four rows add to their sums.
template <class Format>
GR_AVX2_INLINE __m128 add_chunk_avx2(__m128 sum, const typename Format::Block* const* blocks,
                                     const SplitActivations& x) noexcept {
    constexpr int kUnits = kUnitsPerChunk<Format>;
    __m256i lanes[kUnits][kRowsAtOnce];
    for (int r = 0; r < kRowsAtOnce; ++r) {
        __m256i of_row[kUnits];
        unit_lanes_avx2<Format>(blocks[r], x, of_row);
        GR_UNROLL
        for (int u = 0; u < kUnits; ++u) lanes[u][r] = of_row[u];
    }
    __m128i units[kUnits];
    GR_UNROLL
    for (int u = 0; u < kUnits; ++u) units[u] = sum_lanes_of_four_avx2(lanes[u]);
    if constexpr (kIntegerScales<Format>) {
        const __m128 x_scale = _mm_set1_ps(x.scale);
        const __m128 factors = _mm_mul_ps(factors_of_four<Format>(blocks), x_scale);
        GR_UNROLL
        for (int u = 0; u < kUnits; ++u) sum = _mm_fmadd_ps(_mm_cvtepi32_ps(units[u]), factors, sum);
        if constexpr (Format::kHasMin) sum = subtract_minimums_by_rows<Format>(sum, blocks, x.words, x_scale);
        return sum;
    } else {
        GR_UNROLL
        for (int u = 0; u < kUnits; ++u)
            units[u] = _mm_sub_epi32(units[u], _mm_set1_epi32(Format::kOffset * x.sums[u]));
        return add_units<Format>(sum, units, blocks, x);
    }
}

template <class Format>
GR_AVX2 void add_chunks_avx2(const typename Format::Block* const* rows, std::int64_t ahead, std::int64_t n,
                             const SplitActivations* x, float* sums) noexcept {
    const typename Format::Block* blocks[kRowsAtOnce] = {rows[0], rows[1], rows[2], rows[3]};
    __m128 sum = _mm_load_ps(sums);
    for (std::int64_t c = 0; c < n; ++c, ++x) {
        GR_UNROLL
        for (int r = 0; r < kRowsAtOnce; ++r) prefetch_chunk<Format>(blocks[r], ahead);
        sum = add_chunk_avx2<Format>(sum, blocks, *x);
        GR_UNROLL
        for (int r = 0; r < kRowsAtOnce; ++r) blocks[r] += kBlocksPerChunk<Format>;
    }
    _mm_store_ps(sums, sum);
}

template <class Format>
GR_AVX2 void dot_rows_avx2(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                           const ActivationBlock* x, std::int64_t n_values, float* out) noexcept {
    dot_rows_by_fours<Format>(rows, row_bytes, n_rows, x, n_values, out, add_chunks_avx2<Format>);
}

}  // namespace greenroom::cpu
