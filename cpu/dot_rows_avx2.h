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

// Sums of two neighbouring products each. Weights of up to 255 would not fit 16 bits; they are multiplied as
// signed numbers, without their offset, by giving their signs to the activations.
template <class Format>
inline constexpr bool kTooLarge = Format::kLargest > 128;

template <class Format>
GR_AVX2_INLINE __m256i byte_products_avx2(__m256i w, __m256i x) noexcept {
    if constexpr (kTooLarge<Format>) {
        static_assert(Format::kOffset == 128);
        const __m256i is = _mm256_xor_si256(w, _mm256_set1_epi8(-128));
        return _mm256_maddubs_epi16(_mm256_abs_epi8(is), _mm256_sign_epi8(x, is));
    } else {
        return _mm256_maddubs_epi16(w, x);
    }
}

GR_AVX2_INLINE __m256i load_plane_avx2(const ActivationBlock& x, int plane, int i) noexcept {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(x.planes[plane] + 32 * i));
}

// What 256 values of four rows of super-blocks add to their sums.
template <class Format, int kPlanes>
GR_AVX2_INLINE __m128 add_super_blocks_avx2(__m128 sum, const typename Format::Block* const* blocks,
                                            const ActivationBlock& x) noexcept {
    __m256i lanes[kPlanes][kRowsAtOnce];
    for (int r = 0; r < kRowsAtOnce; ++r) {
        __m256i w[8];
        Format::weights_avx2(blocks[r], w);
        const auto scales = Format::scales(blocks[r]);
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p)
            lanes[p][r] = Format::kOffset == 0 ? _mm256_setzero_si256() : offset_lanes<Format>(scales, x, p);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) {
            const __m256i scale = spread_scales_avx2(scales, i);
            GR_UNROLL
            for (int p = 0; p < kPlanes; ++p)
                lanes[p][r] = _mm256_add_epi32(
                    lanes[p][r],
                    _mm256_madd_epi16(byte_products_avx2<Format>(w[i], load_plane_avx2(x, p, i)), scale));
        }
    }
    const __m128 factors = factors_of_four<Format>(blocks);
    GR_UNROLL
    for (int p = 0; p < kPlanes; ++p) {
        const __m128 plane_scale = _mm_set1_ps(x.plane_scale(p));
        sum = _mm_fmadd_ps(_mm_cvtepi32_ps(sum_lanes_of_four_avx2(lanes[p])),
                           _mm_mul_ps(factors, plane_scale), sum);
        if constexpr (Format::kHasMin)
            sum = _mm_fnmadd_ps(_mm_cvtepi32_ps(minimum_sums_of_four<Format>(blocks, x, p)),
                                _mm_mul_ps(minimum_factors_of_four<Format>(blocks), plane_scale), sum);
    }
    return sum;
}

// The same of blocks of 32 with float scales.
template <class Format, int kPlanes>
GR_AVX2_INLINE __m128 add_blocks_avx2(__m128 sum, const typename Format::Block* const* blocks,
                                      const ActivationBlock& x) noexcept {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i lanes[kPlanes][kUnits][kRowsAtOnce];
    for (int r = 0; r < kRowsAtOnce; ++r) {
        __m256i w[kUnits];
        Format::weights_avx2(blocks[r], w);
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p) GR_UNROLL
        for (int u = 0; u < kUnits; ++u)
            lanes[p][u][r] =
                _mm256_madd_epi16(byte_products_avx2<Format>(w[u], load_plane_avx2(x, p, u)), ones);
    }
    const FloatScalesOfFour<Format> scales(blocks);
    GR_UNROLL
    for (int p = 0; p < kPlanes; ++p) {
        __m128i units[kUnits];
        GR_UNROLL
        for (int u = 0; u < kUnits; ++u) {
            units[u] = sum_lanes_of_four_avx2(lanes[p][u]);
            if constexpr (Format::kOffset != 0 && !kTooLarge<Format>)
                units[u] = _mm_sub_epi32(units[u], _mm_set1_epi32(Format::kOffset * x.wide_sums[p][u]));
        }
        sum = scales.add_units(sum, units, x, p);
    }
    return sum;
}

template <class Format, int kPlanes>
GR_AVX2_INLINE __m128 add_chunk_avx2(__m128 sum, const typename Format::Block* const* blocks,
                                     const ActivationBlock& x) noexcept {
    if constexpr (Format::kFloatScales)
        return add_blocks_avx2<Format, kPlanes>(sum, blocks, x);
    else
        return add_super_blocks_avx2<Format, kPlanes>(sum, blocks, x);
}

template <class Format, int kPlanes>
GR_AVX2 void add_chunks_avx2(const typename Format::Block* const* rows, std::int64_t ahead, std::int64_t n,
                             const ActivationBlock* x, float* sums) noexcept {
    const typename Format::Block* blocks[kRowsAtOnce] = {rows[0], rows[1], rows[2], rows[3]};
    __m128 sum = _mm_load_ps(sums);
    for (std::int64_t c = 0; c < n; ++c, ++x) {
        GR_UNROLL
        for (int r = 0; r < kRowsAtOnce; ++r) prefetch_chunk<Format>(blocks[r], ahead);
        sum = add_chunk_avx2<Format, kPlanes>(sum, blocks, *x);
        GR_UNROLL
        for (int r = 0; r < kRowsAtOnce; ++r) blocks[r] += kBlocksPerChunk<Format>;
    }
    _mm_store_ps(sums, sum);
}

template <class Format>
GR_AVX2 void dot_rows_avx2(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                           const ActivationBlock* x, Planes planes, std::int64_t n_values,
                           float* out) noexcept {
    if (planes == Planes::high)
        dot_rows_by_fours<Format>(rows, row_bytes, n_rows, x, n_values, out, add_chunks_avx2<Format, 1>);
    else
        dot_rows_by_fours<Format>(rows, row_bytes, n_rows, x, n_values, out, add_chunks_avx2<Format, 2>);
}

}  // namespace greenroom::cpu
