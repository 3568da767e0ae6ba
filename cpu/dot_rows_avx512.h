#pragma once

// QuantDot::dot_rows for AVX-512, see dot_rows.h.

#include "cpu/dot_k_scales.h"
#include "cpu/dot_rows.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

// For each 64 weights the scales of their groups, one per word: indices for a byte shuffle of the 8 bytes, or
// of 8 words, that hold them.
template <int kGroup, int kScaleBytes>
struct ScaleWords {
    alignas(64) static constexpr auto kIndices = [] {
        std::array<std::array<std::uint16_t, 32>, 4> all{};
        for (unsigned i = 0; i < 4; ++i)
            for (unsigned word = 0; word < 32; ++word) {
                const unsigned group = (64 * i + 2 * word) / kGroup % 8;
                all[i][word] = static_cast<std::uint16_t>(
                    kScaleBytes == 1 ? group | 0x8000U : (2 * group) | (2 * group + 1) << 8);
            }
        return all;
    }();

    GR_AVX512_INLINE static __m512i spread(__m128i scales, std::size_t i) noexcept {
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(scales), _mm512_load_si512(kIndices[i].data()));
    }
};

// The scales of the super-blocks of four rows at a time. Those of Q4_K and Q5_K, of groups of 32, stand at
// the start of a block, 16 bytes with d, dmin and minimums, and are unpacked together.
template <class Format>
class ScalesOfFour {
  public:
    using Block = typename Format::Block;

    GR_AVX512_INLINE explicit ScalesOfFour(const Block* const* blocks) noexcept {
        if constexpr (Format::kGroup == 32) {
            headers_ = _mm512_castsi128_si512(load(blocks[0]));
            headers_ = _mm512_inserti32x4(headers_, load(blocks[1]), 1);
            headers_ = _mm512_inserti32x4(headers_, load(blocks[2]), 2);
            headers_ = _mm512_inserti32x4(headers_, load(blocks[3]), 3);
            numbers_ = k_numbers_avx512(headers_);
            _mm512_store_si512(bytes_, numbers_);
        } else {
            for (int r = 0; r < kRowsAtOnce; ++r)
                _mm256_store_si256(reinterpret_cast<__m256i*>(words_[r]), Format::scales(blocks[r]));
        }
    }

    // Those of weights 64i … 64i + 63 of row r, one per word.
    GR_AVX512_INLINE __m512i spread(int r, std::size_t i) const noexcept {
        if constexpr (Format::kGroup == 32)
            return ScaleWords<32, 1>::spread(
                _mm_load_si128(reinterpret_cast<const __m128i*>(bytes_ + 16 * r)), i);
        else
            return ScaleWords<16, 2>::spread(
                _mm_load_si128(reinterpret_cast<const __m128i*>(words_[r] + 8 * (i / 2))), i);
    }

    // d of each row.
    GR_AVX512_INLINE __m128 factors(const Block* const* blocks) const noexcept {
        if constexpr (Format::kGroup == 32)
            return of_headers<0>();
        else
            return factors_of_four<Format>(blocks);
    }
    // dmin of each row.
    GR_AVX512_INLINE __m128 minimum_factors(const Block* const* blocks) const noexcept {
        if constexpr (Format::kGroup == 32)
            return of_headers<1>();
        else
            return minimum_factors_of_four<Format>(blocks);
    }
    // M of each row.
    GR_AVX512_INLINE __m128i minimum_sums(const Block* const* blocks, const ActivationBlock& x,
                                          int plane) const noexcept {
        if constexpr (Format::kGroup == 32) {
            const __m512i minimums = _mm512_unpackhi_epi8(numbers_, _mm512_setzero_si512());
            const __m512i sums =
                _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(x.wide_sums[plane])));
            __m512i all = _mm512_madd_epi16(minimums, sums);
            all = _mm512_add_epi32(all, _mm512_shuffle_epi32(all, _MM_PERM_BADC));
            all = _mm512_add_epi32(all, _mm512_shuffle_epi32(all, _MM_PERM_CDAB));
            return first_of_lanes(all);
        } else {
            return minimum_sums_of_four<Format>(blocks, x, plane);
        }
    }
    // What the accumulation of a row's products in 16 lanes begins with.
    GR_AVX512_INLINE __m512i first_lanes(int r, const ActivationBlock& x, int plane) const noexcept {
        if constexpr (Format::kOffset == 0)
            return _mm512_setzero_si512();
        else
            return _mm512_zextsi256_si512(offset_lanes<Format>(
                _mm256_load_si256(reinterpret_cast<const __m256i*>(words_[r])), x, plane));
    }

  private:
    GR_AVX512_INLINE static __m128i load(const Block* block) noexcept {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
    }
    GR_AVX512_INLINE static __m128i first_of_lanes(__m512i v) noexcept {
        const __m512i order = _mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12));
        return _mm512_castsi512_si128(_mm512_permutexvar_epi32(order, v));
    }
    // d (0) or dmin (1) of each row.
    template <int kWhich>
    GR_AVX512_INLINE __m128 of_headers() const noexcept {
        const __m256 both = _mm256_cvtph_ps(first_of_lanes(headers_));
        return _mm_shuffle_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1),
                              kWhich == 0 ? 0x88 : 0xdd);
    }

    __m512i headers_;
    __m512i numbers_;
    alignas(64) std::uint8_t bytes_[16 * kRowsAtOnce];
    alignas(32) std::int16_t words_[kRowsAtOnce][ActivationBlock::kGroups];
};

GR_AVX512_INLINE __m512i load_plane_avx512(const ActivationBlock& x, int plane, int i) noexcept {
    return _mm512_load_si512(x.planes[plane] + 64 * i);
}

// What 256 values of four rows of super-blocks add to their sums.
template <class Format, int kPlanes>
GR_AVX512_INLINE __m128 add_super_blocks_avx512(__m128 sum, const typename Format::Block* const* blocks,
                                                const ActivationBlock& x) noexcept {
    const ScalesOfFour<Format> scales(blocks);
    __m512i lanes[kPlanes][kRowsAtOnce];
    GR_UNROLL
    for (int r = 0; r < kRowsAtOnce; ++r) {
        __m512i w[4];
        Format::weights_avx512(blocks[r], w);
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p) lanes[p][r] = scales.first_lanes(r, x, p);
        GR_UNROLL
        for (int i = 0; i < 4; ++i) {
            const __m512i scale = scales.spread(r, static_cast<std::size_t>(i));
            GR_UNROLL
            for (int p = 0; p < kPlanes; ++p)
                add_products_avx512(lanes[p][r], _mm512_maddubs_epi16(w[i], load_plane_avx512(x, p, i)),
                                    scale);
        }
    }
    GR_UNROLL
    for (int p = 0; p < kPlanes; ++p) {
        const __m128 plane_scale = _mm_set1_ps(x.plane_scale(p));
        sum = _mm_fmadd_ps(_mm_cvtepi32_ps(sum_lanes_of_four_avx512(lanes[p])),
                           _mm_mul_ps(scales.factors(blocks), plane_scale), sum);
        if constexpr (Format::kHasMin)
            sum = _mm_fnmadd_ps(_mm_cvtepi32_ps(scales.minimum_sums(blocks, x, p)),
                                _mm_mul_ps(scales.minimum_factors(blocks), plane_scale), sum);
    }
    return sum;
}

// The same of blocks of 32 with float scales.
template <class Format, int kPlanes>
GR_AVX512_INLINE __m128 add_blocks_avx512(__m128 sum, const typename Format::Block* const* blocks,
                                          const ActivationBlock& x) noexcept {
    constexpr int kVectors = 4;
    __m512i lanes[kPlanes][kVectors][kRowsAtOnce];
    GR_UNROLL
    for (int r = 0; r < kRowsAtOnce; ++r) {
        __m512i w[kVectors];
        Format::weights_avx512(blocks[r], w);
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p) GR_UNROLL
        for (int i = 0; i < kVectors; ++i) {
            lanes[p][i][r] = _mm512_setzero_si512();
            add_byte_products_avx512(lanes[p][i][r], w[i], load_plane_avx512(x, p, i));
        }
    }
    const FloatScalesOfFour<Format> scales(blocks);
    GR_UNROLL
    for (int p = 0; p < kPlanes; ++p) {
        __m128i units[kUnits];
        GR_UNROLL
        for (int u = 0; u < kVectors; u += 2) {
            __m512i four =
                add_lane_pairs_avx512(sum_quads_avx512(lanes[p][u]), sum_quads_avx512(lanes[p][u + 1]));
            if constexpr (Format::kOffset != 0)
                four = _mm512_sub_epi32(four, offsets_avx512(x.wide_sums[p] + 2 * u, Format::kOffset));
            units[2 * u] = _mm512_castsi512_si128(four);
            units[2 * u + 1] = _mm512_extracti32x4_epi32(four, 1);
            units[2 * u + 2] = _mm512_extracti32x4_epi32(four, 2);
            units[2 * u + 3] = _mm512_extracti32x4_epi32(four, 3);
        }
        sum = scales.add_units(sum, units, x, p);
    }
    return sum;
}

template <class Format, int kPlanes>
GR_AVX512_INLINE __m128 add_chunk_avx512(__m128 sum, const typename Format::Block* const* blocks,
                                         const ActivationBlock& x) noexcept {
    if constexpr (Format::kFloatScales)
        return add_blocks_avx512<Format, kPlanes>(sum, blocks, x);
    else
        return add_super_blocks_avx512<Format, kPlanes>(sum, blocks, x);
}

template <class Format, int kPlanes>
GR_AVX512 void add_chunks_avx512(const typename Format::Block* const* rows, std::int64_t ahead,
                                 std::int64_t n, const ActivationBlock* x, float* sums) noexcept {
    const typename Format::Block* blocks[kRowsAtOnce] = {rows[0], rows[1], rows[2], rows[3]};
    __m128 sum = _mm_load_ps(sums);
    for (std::int64_t c = 0; c < n; ++c, ++x) {
        GR_UNROLL
        for (int r = 0; r < kRowsAtOnce; ++r) prefetch_chunk<Format>(blocks[r], ahead);
        sum = add_chunk_avx512<Format, kPlanes>(sum, blocks, *x);
        GR_UNROLL
        for (int r = 0; r < kRowsAtOnce; ++r) blocks[r] += kBlocksPerChunk<Format>;
    }
    _mm_store_ps(sums, sum);
}

template <class Format>
GR_AVX512 void dot_rows_avx512(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                               const ActivationBlock* x, Planes planes, std::int64_t n_values,
                               float* out) noexcept {
    if (planes == Planes::high)
        dot_rows_by_fours<Format>(rows, row_bytes, n_rows, x, n_values, out, add_chunks_avx512<Format, 1>);
    else
        dot_rows_by_fours<Format>(rows, row_bytes, n_rows, x, n_values, out, add_chunks_avx512<Format, 2>);
}

}  // namespace greenroom::cpu
