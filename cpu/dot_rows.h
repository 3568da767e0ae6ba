#pragma once

// The frame of the kernels that take rows as they stand in memory, one vector (dot_quant.h):
// QuantDot::dot_rows.
//
// Bytes of weights are multiplied with a plane of bytes; with integer scales pairs of products, which stay
// within 16 bits, by the scale of their group, added up in lanes of 32 bits. What the lanes add up to is
// found for four rows together, which leaves a row a lane; so do the float operations.

#include "cpu/dot_format.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <cstdint>

namespace greenroom::cpu {

inline constexpr int kRowsAtOnce = 4;

constexpr int n_planes(Planes planes) noexcept { return planes == Planes::both ? 2 : 1; }

// Of so many chunks the activations stay in the first-level cache while the rows go by.
inline constexpr std::int64_t kChunksAtOnce = 32;

// The sums over groups of this format.
template <class Format>
const std::int16_t* group_sums(const ActivationBlock& x, int plane) noexcept {
    return Format::kGroup == 32 ? x.wide_sums[plane] : x.sums[plane];
}

// Σ number · sum over the groups, in four lanes, or eight.
GR_AVX2_INLINE __m128i dot_sums(__m128i numbers, const std::int16_t* sums) noexcept {
    return _mm_madd_epi16(numbers, _mm_load_si128(reinterpret_cast<const __m128i*>(sums)));
}
GR_AVX2_INLINE __m256i dot_sums(__m256i numbers, const std::int16_t* sums) noexcept {
    return _mm256_madd_epi16(numbers, _mm256_load_si256(reinterpret_cast<const __m256i*>(sums)));
}
GR_AVX2_INLINE __m128i four_lanes(__m128i v) noexcept { return v; }
GR_AVX2_INLINE __m128i four_lanes(__m256i v) noexcept {
    return _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}
GR_AVX2_INLINE __m256i eight_lanes(__m128i v) noexcept { return _mm256_zextsi128_si256(v); }
GR_AVX2_INLINE __m256i eight_lanes(__m256i v) noexcept { return v; }

// Minus what the offset of a row's weights adds to the sum T of its products, in eight lanes.
template <class Format, class Scales>
GR_AVX2_INLINE __m256i offset_lanes(Scales scales, const ActivationBlock& x, int plane) noexcept {
    const __m256i all = eight_lanes(dot_sums(scales, group_sums<Format>(x, plane)));
    return _mm256_mullo_epi32(all, _mm256_set1_epi32(-Format::kOffset));
}

// d of four super-blocks, and dmin.
template <class Format>
GR_AVX2_INLINE __m128 factors_of_four(const typename Format::Block* const* blocks) noexcept {
    return four_halves(Format::factor(blocks[0]), Format::factor(blocks[1]), Format::factor(blocks[2]),
                       Format::factor(blocks[3]));
}
template <class Format>
GR_AVX2_INLINE __m128 minimum_factors_of_four(const typename Format::Block* const* blocks) noexcept {
    return four_halves(Format::minimum_factor(blocks[0]), Format::minimum_factor(blocks[1]),
                       Format::minimum_factor(blocks[2]), Format::minimum_factor(blocks[3]));
}

// M of four rows.
template <class Format>
GR_AVX2_INLINE __m128i minimum_sums_of_four(const typename Format::Block* const* blocks,
                                            const ActivationBlock& x, int plane) noexcept {
    __m128i lanes[kRowsAtOnce];
    GR_UNROLL
    for (int r = 0; r < kRowsAtOnce; ++r)
        lanes[r] = four_lanes(dot_sums(Format::minimums(blocks[r]), group_sums<Format>(x, plane)));
    return sum_lanes_of_four(lanes);
}

// The float scales, and minimums, of 256 values of four rows, a row per lane.
template <class Format>
class FloatScalesOfFour {
  public:
    GR_AVX2_INLINE explicit FloatScalesOfFour(const typename Format::Block* const* blocks) noexcept {
        GR_UNROLL
        for (int r = 0; r < kRowsAtOnce; ++r) {
            scales_[r] = Format::scales(blocks[r]);
            if constexpr (Format::kHasMin) minimums_[r] = Format::minimums(blocks[r]);
        }
        transpose_quads(scales_);
        if constexpr (Format::kHasMin) transpose_quads(minimums_);
    }

    // sum + plane scale · c, from the T_u of a plane.
    GR_AVX2_INLINE __m128 add_units(__m128 sum, const __m128i* units, const ActivationBlock& x,
                                    int plane) const noexcept {
        __m128 c = _mm_setzero_ps();
        GR_UNROLL
        for (int u = 0; u < kUnits; ++u)
            c = _mm_fmadd_ps(_mm_cvtepi32_ps(units[u]), half_of(scales_[u % 4], u / 4), c);
        if constexpr (Format::kHasMin) {
            GR_UNROLL
            for (int u = 0; u < kUnits; ++u)
                c = _mm_fmadd_ps(_mm_set1_ps(static_cast<float>(x.wide_sums[plane][u])),
                                 half_of(minimums_[u % 4], u / 4), c);
        }
        return _mm_fmadd_ps(c, _mm_set1_ps(x.plane_scale(plane)), sum);
    }

  private:
    __m256 scales_[kRowsAtOnce];
    __m256 minimums_[kRowsAtOnce];
};

// Brings 256 values to the cache. Rows are a few kilobytes long and four are read at once, too many streams
// in too little memory for the processor to see them by itself. Beyond the end nothing happens.
template <class Format>
GR_AVX2_INLINE void prefetch_chunk(const typename Format::Block* block, std::int64_t ahead) noexcept {
    const std::byte* bytes = reinterpret_cast<const std::byte*>(block) + ahead;
    constexpr int kBytes = kBlocksPerChunk<Format> * static_cast<int>(sizeof(typename Format::Block));
    constexpr int kLine = 64;
    GR_UNROLL
    for (int at = 0; at < kBytes; at += kLine) __builtin_prefetch(bytes + at, 0, 2);
}

// Rows [0, n_rows) of a tile, four at a time; where there are fewer the last one stands in for the others.
// add_chunks(blocks, ahead, n, x, sums) adds what n chunks from blocks on give to the sums of four rows, the
// next four of which are `ahead` bytes away. Chunks that a row ends in are copied first.
template <class Format, class AddChunks>
GR_AVX2_INLINE void dot_rows_by_fours(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                                      const ActivationBlock* x, std::int64_t n_values, float* out,
                                      const AddChunks& add_chunks) noexcept {
    using Block = typename Format::Block;
    alignas(64) float sums[kTileRows] = {};
    const std::int64_t n_chunks = activation_blocks(n_values);
    for (std::int64_t first = 0; first < n_chunks; first += kChunksAtOnce) {
        const std::int64_t n = std::min(kChunksAtOnce, n_chunks - first);
        const std::int64_t n_whole = std::min(n, n_values / ActivationBlock::kValues - first);
        for (int r = 0; r < n_rows; r += kRowsAtOnce) {
            const std::byte* four[kRowsAtOnce];
            const Block* blocks[kRowsAtOnce];
            for (int i = 0; i < kRowsAtOnce; ++i) {
                four[i] = rows + std::min(r + i, n_rows - 1) * row_bytes;
                blocks[i] = reinterpret_cast<const Block*>(four[i]) + first * kBlocksPerChunk<Format>;
            }
            add_chunks(blocks, kRowsAtOnce * row_bytes, n_whole, x + first, sums + r);
            if constexpr (kBlocksPerChunk<Format> != 1) {
                if (n_whole == n) continue;
                Block copies[kRowsAtOnce][kBlocksPerChunk<Format>];
                for (int i = 0; i < kRowsAtOnce; ++i)
                    blocks[i] = chunk_blocks<Format>(four[i], first + n_whole, n_values, copies[i]);
                add_chunks(blocks, 0, 1, x + first + n_whole, sums + r);
            }
        }
    }
    std::copy_n(sums, n_rows, out);
}

}  // namespace greenroom::cpu
