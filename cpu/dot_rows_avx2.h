#pragma once

// QuantDot::dot_rows for AVX2, see dot_rows.h; and for AVX-VNNI, which is AVX2 with the products of bytes, or
// words, and their sums in one instruction.

#include "cpu/dot_rows.h"

#include <cstdint>

namespace greenroom::cpu {

// A format whose kernels are to use AVX-VNNI.
template <class Format>
struct WithVnni : Format {};
template <class Format>
inline constexpr bool kVnni = false;
template <class Format>
inline constexpr bool kVnni<WithVnni<Format>> = true;

// sum += a · b of 16 pairs of words, two per lane. In assembly, so that helpers need no target of their own.
GR_AVX2_INLINE void add_products_vnni(__m256i& sum, __m256i a, __m256i b) noexcept {
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
}
// The same of unsigned by signed bytes, four per lane.
GR_AVX2_INLINE void add_byte_products_vnni(__m256i& sum, __m256i a, __m256i b) noexcept {
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
}

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
inline constexpr bool kTooLarge = Format::kLargest > 128 && !kVnni<Format>;

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

// sum += words · scale, pairs per lane.
template <class Format>
GR_AVX2_INLINE void add_scaled_words_avx2(__m256i& sum, __m256i words, __m256i scale) noexcept {
    if constexpr (kVnni<Format>)
        add_products_vnni(sum, words, scale);
    else
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(words, scale));
}

// Sums of four products of bytes each.
template <class Format>
GR_AVX2_INLINE __m256i lane_sums_avx2(__m256i w, __m256i x) noexcept {
    if constexpr (kVnni<Format>) {
        __m256i sums = _mm256_setzero_si256();
        add_byte_products_vnni(sums, w, x);
        return sums;
    } else {
        return _mm256_madd_epi16(byte_products_avx2<Format>(w, x), _mm256_set1_epi16(1));
    }
}

GR_AVX2_INLINE __m256i load_plane_avx2(const ActivationBlock& x, int plane, int i) noexcept {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(x.planes[plane] + 32 * i));
}

// The sums of 32 products each, of four rows.
template <class Format>
GR_AVX2_INLINE __m128i unit_sums_avx2(const __m256i* rows, __m256i x) noexcept {
    constexpr bool kWordsHoldEight = Format::kLargest * 128 * 8 <= 32767;
    __m256i sums[kFour];
    if constexpr (kVnni<Format> || !kWordsHoldEight) {
        GR_UNROLL
        for (int r = 0; r < kFour; ++r) sums[r] = lane_sums_avx2<Format>(rows[r], x);
        return sum_lanes_of_four_avx2(sums);
    } else {
        GR_UNROLL
        for (int r = 0; r < kFour; ++r) sums[r] = byte_products_avx2<Format>(rows[r], x);
        const __m256i words =
            _mm256_hadd_epi16(_mm256_hadd_epi16(sums[0], sums[1]), _mm256_hadd_epi16(sums[2], sums[3]));
        const __m256i quads = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
        return _mm_add_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
    }
}

// What four super-blocks give. plane_scales: those of the activations.
template <class Format, int kPlanes>
GR_AVX2_INLINE FourTerms<Format, kPlanes> multiply_super_blocks_avx2(
    const FourChunks<Format, ActivationBlock>& chunks, const __m128* plane_scales) noexcept {
    __m256i lanes[kPlanes][kFour];
    GR_UNROLL
    for (int r = 0; r < kFour; ++r) {
        chunks.fetch_ahead(r);
        const ActivationBlock& x = *chunks.x;
        __m256i w[8];
        Format::weights_avx2(chunks.blocks[r], w);
        const auto scales = Format::scales(chunks.blocks[r]);
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p)
            lanes[p][r] = Format::kOffset == 0 ? _mm256_setzero_si256() : offset_lanes<Format>(scales, x, p);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) {
            const __m256i scale = spread_scales_avx2(scales, i);
            GR_UNROLL
            for (int p = 0; p < kPlanes; ++p)
                add_scaled_words_avx2<Format>(
                    lanes[p][r], byte_products_avx2<Format>(w[i], load_plane_avx2(x, p, i)), scale);
        }
    }
    FourTerms<Format, kPlanes> terms;
    const __m128 factors = factors_of_four<Format>(chunks.blocks);
    GR_UNROLL
    for (int p = 0; p < kPlanes; ++p) {
        constexpr int kPerPlane = FourTerms<Format, kPlanes>::kPerPlane;
        terms.numbers[kPerPlane * p] = _mm_cvtepi32_ps(sum_lanes_of_four_avx2(lanes[p]));
        terms.factors[kPerPlane * p] = _mm_mul_ps(factors, plane_scales[p]);
        if constexpr (Format::kHasMin) {
            terms.numbers[2 * p + 1] =
                _mm_cvtepi32_ps(minimum_sums_of_four<Format>(chunks.blocks, *chunks.x, p));
            terms.factors[2 * p + 1] =
                _mm_mul_ps(minimum_factors_of_four<Format>(chunks.blocks), plane_scales[p]);
        }
    }
    return terms;
}

// of_chunks: numbers of each of four chunks, one per block; of_blocks: those of each block, a chunk per lane.
GR_AVX2_INLINE void turn_block_numbers(const __m256* of_chunks, __m128* of_blocks) noexcept {
    __m256 turned[kFour];
    GR_UNROLL
    for (int i = 0; i < kFour; ++i) turned[i] = of_chunks[i];
    transpose_quads(turned);
    GR_UNROLL
    for (int u = 0; u < kUnits; ++u) of_blocks[u] = half_of(turned[u % 4], u / 4);
}

// The same of four chunks of blocks with float scales, unit by unit: the lanes of four rows are added up
// while they are in registers.
template <class Format, int kPlanes>
GR_AVX2_INLINE FourTerms<Format, kPlanes> multiply_blocks_avx2(
    const FourChunks<Format, ActivationBlock>& chunks, const __m128* plane_scales) noexcept {
    alignas(32) std::int32_t offsets[kPlanes][kUnits];
    constexpr bool kHasOffset = Format::kOffset != 0 && !kTooLarge<Format>;
    if constexpr (kHasOffset) {
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p)
            _mm256_store_si256(reinterpret_cast<__m256i*>(offsets[p]),
                               _mm256_mullo_epi32(wide_sums_avx2(chunks.x->wide_sums[p]),
                                                  _mm256_set1_epi32(Format::kOffset)));
    }
    BlockSums<Format, kPlanes> sums;
    GR_UNROLL
    for (int u = 0; u < kUnits; ++u) {
        if (u % 2 == 0) chunks.fetch_ahead(u / 2);
        __m256i w[kFour];
        GR_UNROLL
        for (int r = 0; r < kFour; ++r) w[r] = Format::unit_avx2(chunks.blocks[r], u);
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p) {
            __m128i unit = unit_sums_avx2<Format>(w, load_plane_avx2(*chunks.x, p, u));
            if constexpr (kHasOffset) unit = _mm_sub_epi32(unit, _mm_set1_epi32(offsets[p][u]));
            sums.sums[p][u] = _mm_cvtepi32_ps(unit);
        }
    }
    __m256 scales[kFour];
    __m256 minimums[kFour];
    GR_UNROLL
    for (int r = 0; r < kFour; ++r) {
        scales[r] = Format::scales(chunks.blocks[r]);
        if constexpr (Format::kHasMin) minimums[r] = Format::minimums(chunks.blocks[r]);
    }
    turn_block_numbers(scales, sums.scales);
    if constexpr (Format::kHasMin) turn_block_numbers(minimums, sums.minimums);
    FourTerms<Format, kPlanes> terms;
    GR_UNROLL
    for (int p = 0; p < kPlanes; ++p) {
        terms.numbers[p] = sums.add_up(p, chunks.x->wide_sums[p]);
        terms.factors[p] = plane_scales[p];
    }
    return terms;
}

template <class Format, int kPlanes>
GR_AVX2_INLINE FourTerms<Format, kPlanes> multiply_avx2(const FourChunks<Format, ActivationBlock>& chunks,
                                                        const __m128* plane_scales) noexcept {
    if constexpr (Format::kFloatScales)
        return multiply_blocks_avx2<Format, kPlanes>(chunks, plane_scales);
    else
        return multiply_super_blocks_avx2<Format, kPlanes>(chunks, plane_scales);
}

// sums[r] += row r · x; up to three sums behind the last are written.
template <class Format, int kPlanes>
GR_AVX2_INLINE void add_rows_avx2(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                                  const ActivationBlock* x, std::int64_t n_values, float* sums) noexcept {
    RowsOfFour<Format, ActivationBlock> four(rows, row_bytes, n_rows, n_values);
    for (int r = 0; r < n_rows; r += kFour) {
        four.begin(r);
        __m128 sum = _mm_load_ps(sums + r);
        do {
            for (std::int64_t c = four.first(); c < four.last(); ++c) {
                __m128 plane_scales[kPlanes];
                GR_UNROLL
                for (int p = 0; p < kPlanes; ++p) plane_scales[p] = _mm_set1_ps(x[c].plane_scale(p));
                sum = multiply_avx2<Format, kPlanes>(four.chunks(c, x[c]), plane_scales).add_to(sum);
            }
        } while (four.go_on());
        _mm_store_ps(sums + r, sum);
    }
}

template <class Format, int kPlanes>
GR_AVX2 void dot_rows_of_planes_avx2(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                                     const ActivationBlock* x, std::int64_t n_values, float* out) noexcept {
    alignas(16) float sums[kRunRows];
    std::fill_n(sums, (n_rows + kFour - 1) / kFour * kFour, 0.0F);
    constexpr std::int64_t kValues = kChunksAtOnce * ActivationBlock::kValues;
    for (std::int64_t first = 0; first < n_values; first += kValues) {
        add_rows_avx2<Format, kPlanes>(rows, row_bytes, n_rows, x, std::min(kValues, n_values - first), sums);
        rows += kValues / Format::Block::kValues * sizeof(typename Format::Block);
        x += kChunksAtOnce;
    }
    std::copy_n(sums, n_rows, out);
}

template <class Format>
GR_AVX2 void dot_rows_avx2(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                           const ActivationBlock* x, Planes planes, std::int64_t n_values,
                           float* out) noexcept {
    if (planes == Planes::high)
        dot_rows_of_planes_avx2<Format, 1>(rows, row_bytes, n_rows, x, n_values, out);
    else
        dot_rows_of_planes_avx2<Format, 2>(rows, row_bytes, n_rows, x, n_values, out);
}

}  // namespace greenroom::cpu
