#pragma once

// QuantDot::dot_tile for AVX-512, see dot_tile.h: six vectors meet two times 16 rows, with twelve sums of a
// group and twelve over the groups in registers; four values of 16 rows and four of a vector, broadcast to
// all lanes, are one instruction.

#include "cpu/dot_tile.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

inline constexpr int kHalfTile = 16;

// ---- Laying out ----

// Integers of 16 rows, words, to lanes from `first` on: those of 8 or 16 groups.
template <int kGroups>
GR_AVX512_INLINE void store_integers_avx512(const std::int16_t (*words)[ActivationBlock::kGroups], int first,
                                            std::int32_t (*to)[kTileRows]) noexcept {
    if constexpr (kGroups == kUnits) {
        __m256 of_row[kHalfTile];
        __m512 of_group[kUnits];
        GR_UNROLL
        for (int r = 0; r < kHalfTile; ++r)
            of_row[r] = _mm256_castsi256_ps(
                _mm256_cvtepi16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(words[r]))));
        transpose_16x8_avx512(of_row, of_group);
        GR_UNROLL
        for (int g = 0; g < kUnits; ++g) _mm512_store_ps(to[g] + first, of_group[g]);
    } else {
        __m512i v[kHalfTile];
        GR_UNROLL
        for (int r = 0; r < kHalfTile; ++r)
            v[r] = _mm512_cvtepi16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(words[r])));
        transpose_avx512(v);
        GR_UNROLL
        for (int g = 0; g < kGroups; ++g) _mm512_store_si512(to[g] + first, v[g]);
    }
}

// The same of floats of 8 blocks.
GR_AVX512_INLINE void store_floats_avx512(const __m256* of_rows, int first, float (*to)[kTileRows]) noexcept {
    __m512 of_block[kUnits];
    transpose_16x8_avx512(of_rows, of_block);
    GR_UNROLL
    for (int u = 0; u < kUnits; ++u) _mm512_store_ps(to[u] + first, of_block[u]);
}

// Which four of 256 weights lane i of vector p holds, see dot_format.h.
template <class Format>
constexpr int quad_of_lane(int p, int i) noexcept {
    return Format::kFloatScales ? 8 * (p / 2 * 4 + i / 4) + p % 2 * 4 + i % 4 : 16 * p + i;
}

// 256 values of 16 rows to lanes from `first` on. blocks: those of each row.
template <class Format>
GR_AVX512_INLINE void lay_out_16_rows_avx512(const typename Format::Block* const* blocks, int first,
                                             TileChunk& chunk) noexcept {
    __m512i weights[4][kHalfTile];
    TileNumbers<Format, kHalfTile> numbers;
    for (int r = 0; r < kHalfTile; ++r) {
        __m512i parts[4];
        Format::weights_avx512(blocks[r], parts);
        GR_UNROLL
        for (int p = 0; p < 4; ++p) weights[p][r] = parts[p];
        numbers.take(r, blocks[r]);
    }
    for (int p = 0; p < 4; ++p) {
        transpose_avx512(weights[p]);
        GR_UNROLL
        for (int i = 0; i < 16; ++i)
            _mm512_store_si512(chunk.weights[quad_of_lane<Format>(p, i)][first], weights[p][i]);
    }
    if constexpr (Format::kFloatScales) {
        store_floats_avx512(numbers.block_scales[0], first, chunk.scales);
        if constexpr (Format::kHasMin) store_floats_avx512(numbers.block_scales[1], first, chunk.minimums);
    } else {
        store_integers_avx512<kGroupsPerChunk<Format>>(numbers.scales, first, chunk.integer_scales);
        _mm512_store_ps(chunk.scales[0] + first,
                        _mm512_mul_ps(halves_avx512(numbers.factors[0]), _mm512_set1_ps(unit_of<Format>())));
        if constexpr (Format::kHasMin) {
            _mm512_store_ps(chunk.minimums[0] + first,
                            _mm512_xor_ps(halves_avx512(numbers.factors[1]), _mm512_set1_ps(-0.0F)));
            __m512i pairs[kHalfTile];
            GR_UNROLL
            for (int r = 0; r < kHalfTile; ++r)
                pairs[r] = _mm512_castsi256_si512(
                    _mm256_load_si256(reinterpret_cast<const __m256i*>(numbers.minimums[r])));
            transpose_avx512(pairs);
            GR_UNROLL
            for (int g = 0; g < kGroupsPerChunk<Format> / 2; ++g)
                _mm512_store_si512(chunk.integer_minimums[g][first], pairs[g]);
        }
    }
}

// A function of its own: inlined beside the products it makes g++ 12 spill their sums.
template <class Format>
GR_AVX512 [[gnu::noinline]] void lay_out_avx512(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                                                std::int64_t c, std::int64_t n_values,
                                                TileChunk& chunk) noexcept {
    using Block = typename Format::Block;
    for (int first = 0; first < kTileRows; first += kHalfTile) {
        Block last[kHalfTile][kBlocksPerChunk<Format>];
        const Block* blocks[kHalfTile];
        find_blocks<Format, kHalfTile>(rows, row_bytes, n_rows, first, c, n_values, last, blocks);
        lay_out_16_rows_avx512<Format>(blocks, first, chunk);
    }
}

// ---- Multiplying ----

// Minus what the offset of the weights adds to the sums of groups.
template <class Format>
GR_AVX512_INLINE void find_offsets_avx512(const ActivationBlock& x, int plane,
                                          std::int32_t* offsets) noexcept {
    __m512i sums;
    if constexpr (Format::kGroup == 32)
        sums = _mm512_cvtepi16_epi32(
            _mm256_castsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(x.wide_sums[plane]))));
    else
        sums = _mm512_cvtepi16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(x.sums[plane])));
    _mm512_store_si512(offsets, _mm512_mullo_epi32(sums, _mm512_set1_epi32(-Format::kOffset)));
}

// What a vector adds to the sums of 16 rows: floats or integers.
template <bool kFloats>
struct Total512 {
    __m512i v;
};
template <>
struct Total512<true> {
    __m512 v;
};

// sums[j][r] += what a chunk gives for one plane of each of kN vectors. A function of its own for each kN:
// g++ 12 spills the sums otherwise.
template <class Format, int kN>
GR_AVX512 [[gnu::noinline]] void add_plane_avx512(const TileChunk& chunk, const ActivationBlock* const* x,
                                                  std::int64_t c, int n_groups, int plane,
                                                  float (*sums)[kTileRows]) noexcept {
    constexpr int kQuadsPerGroup = Format::kGroup / 4;
    using Total = Total512<Format::kFloatScales>;
    Total totals[kN][2];
    alignas(64) std::int32_t offsets[kN][16];
    const std::int8_t* q[kN];
    GR_UNROLL
    for (int j = 0; j < kN; ++j) {
        q[j] = x[j][c].planes[plane];
        if constexpr (Format::kOffset != 0) find_offsets_avx512<Format>(x[j][c], plane, offsets[j]);
        totals[j][0] = totals[j][1] = Total{};
    }
    for (int g = 0; g < n_groups; ++g) {
        __m512i of_group[kN][2];
        GR_UNROLL
        for (int j = 0; j < kN; ++j)
            of_group[j][0] = of_group[j][1] =
                Format::kOffset == 0 ? _mm512_setzero_si512() : _mm512_set1_epi32(offsets[j][g]);
        const auto* weights = chunk.weights + kQuadsPerGroup * g;
        GR_UNROLL
        for (int i = 0; i < kQuadsPerGroup; ++i) {
            const __m512i low = _mm512_load_si512(weights[i][0]);
            const __m512i high = _mm512_load_si512(weights[i][kHalfTile]);
            GR_UNROLL
            for (int j = 0; j < kN; ++j) {
                const __m512i four = _mm512_set1_epi32(lane_at(q[j] + Format::kGroup * g + 4 * i));
                add_byte_products_avx512(of_group[j][0], low, four);
                add_byte_products_avx512(of_group[j][1], high, four);
            }
        }
        GR_UNROLL
        for (int half = 0; half < 2; ++half) {
            if constexpr (Format::kFloatScales) {
                const __m512 scale = _mm512_load_ps(chunk.scales[g] + kHalfTile * half);
                GR_UNROLL
                for (int j = 0; j < kN; ++j)
                    totals[j][half].v =
                        _mm512_fmadd_ps(_mm512_cvtepi32_ps(of_group[j][half]), scale, totals[j][half].v);
            } else {
                const __m512i scale = _mm512_load_si512(chunk.integer_scales[g] + kHalfTile * half);
                GR_UNROLL
                for (int j = 0; j < kN; ++j)
                    totals[j][half].v =
                        _mm512_add_epi32(totals[j][half].v, _mm512_mullo_epi32(of_group[j][half], scale));
            }
        }
    }
    GR_UNROLL
    for (int j = 0; j < kN; ++j) {
        const __m512 plane_scale = _mm512_set1_ps(x[j][c].plane_scale(plane));
        GR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const int first = kHalfTile * half;
            if constexpr (Format::kFloatScales) {
                if constexpr (Format::kHasMin)
                    for (int u = 0; u < n_groups; ++u)
                        totals[j][half].v =
                            _mm512_fmadd_ps(_mm512_set1_ps(static_cast<float>(x[j][c].wide_sums[plane][u])),
                                            _mm512_load_ps(chunk.minimums[u] + first), totals[j][half].v);
                add_scaled_avx512(sums[j] + first, totals[j][half].v, plane_scale);
            } else {
                add_scaled_avx512(sums[j] + first, _mm512_cvtepi32_ps(totals[j][half].v),
                                  _mm512_mul_ps(_mm512_load_ps(chunk.scales[0] + first), plane_scale));
                if constexpr (Format::kHasMin) {
                    const std::int16_t* of_groups = group_sums<Format>(x[j][c], plane);
                    __m512i sum = _mm512_setzero_si512();
                    GR_UNROLL
                    for (int g = 0; g < kGroupsPerChunk<Format> / 2; ++g)
                        add_products_avx512(sum, _mm512_load_si512(chunk.integer_minimums[g][first]),
                                            _mm512_set1_epi32(lane_at(of_groups + 2 * g)));
                    add_scaled_avx512(sums[j] + first, _mm512_cvtepi32_ps(sum),
                                      _mm512_mul_ps(_mm512_load_ps(chunk.minimums[0] + first), plane_scale));
                }
            }
        }
    }
}

// As many vectors at a time as there are registers for, and for what is left over less than that; vectors
// that are missing from such a group are made up by the last one, and what they give goes to `spare`.
template <class Format>
GR_AVX512 void dot_tile_avx512(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                               const ActivationBlock* const* x, int n_vectors, Planes planes,
                               std::int64_t n_values, float* out) noexcept {
    constexpr int kMost = 6;
    auto* sums = reinterpret_cast<float(*)[kTileRows]>(out);
    std::memset(out, 0, static_cast<std::size_t>(n_vectors) * sizeof sums[0]);
    const int n_whole = n_vectors / kMost * kMost;
    const int n_left = n_vectors - n_whole;
    alignas(64) float of_rest[kMost][kTileRows] = {};
    const ActivationBlock* rest[kMost];
    for (int j = 0; j < kMost && n_left > 0; ++j) rest[j] = x[n_whole + std::min(j, n_left - 1)];
    TileChunk chunk;
    const std::int64_t n_chunks = activation_blocks(n_values);
    for (std::int64_t c = 0; c < n_chunks; ++c) {
        lay_out_avx512<Format>(rows, row_bytes, n_rows, c, n_values, chunk);
        NextChunk<Format> next(rows, row_bytes, n_rows, c, n_chunks, n_whole / kMost + (n_left > 0 ? 1 : 0));
        const int n_groups = groups_of_chunk<Format>(c, n_values);
        for (int plane = 0; plane < n_planes(planes); ++plane) {
            for (int j = 0; j < n_whole; j += kMost) {
                next.fetch_part();
                add_plane_avx512<Format, kMost>(chunk, x + j, c, n_groups, plane, sums + j);
            }
            if (n_left > 0) next.fetch_part();
            if (n_left > 4)
                add_plane_avx512<Format, kMost>(chunk, rest, c, n_groups, plane, of_rest);
            else if (n_left > 2)
                add_plane_avx512<Format, 4>(chunk, rest, c, n_groups, plane, of_rest);
            else if (n_left > 0)
                add_plane_avx512<Format, 2>(chunk, rest, c, n_groups, plane, of_rest);
        }
    }
    std::memcpy(sums + n_whole, of_rest, static_cast<std::size_t>(n_left) * sizeof sums[0]);
}

}  // namespace greenroom::cpu
