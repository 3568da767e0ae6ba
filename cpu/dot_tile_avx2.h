#pragma once

// QuantDot::dot_tile for AVX2 and AVX-VNNI, see dot_tile.h: four vectors meet 8 rows at a time. Products of
// bytes are added up in words, as many as fit, before they are widened and multiplied by their scale in one
// instruction.

#include "cpu/dot_rows_avx2.h"
#include "cpu/dot_tile.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

inline constexpr int kLanes = 8;

// ---- Laying out ----

// Integer scales stand in both words of a lane; for AVX-VNNI they fill it. Weights too large for sums of two
// products in a word stand as signed numbers, without their offset.
template <class Format>
GR_AVX2_INLINE void lay_out_8_rows_avx2(const typename Format::Block* const* blocks, int first,
                                        TileChunk& chunk) noexcept {
    constexpr int kVectors = 8;  // of 32 weights
    __m256i weights[kVectors][kLanes];
    TileNumbers<Format, kLanes> numbers;
    for (int r = 0; r < kLanes; ++r) {
        __m256i w[kVectors];
        load_weights_avx2<Format>(blocks[r], w);
        GR_UNROLL
        for (int i = 0; i < kVectors; ++i)
            weights[i][r] = kTooLarge<Format> ? _mm256_xor_si256(w[i], _mm256_set1_epi8(-128)) : w[i];
        numbers.take(r, blocks[r]);
    }
    for (int i = 0; i < kVectors; ++i) {
        transpose_avx2(weights[i]);
        GR_UNROLL
        for (int k = 0; k < 8; ++k)
            _mm256_store_si256(reinterpret_cast<__m256i*>(chunk.weights[8 * i + k][first]), weights[i][k]);
    }
    if constexpr (Format::kFloatScales) {
        transpose_avx2(numbers.block_scales[0]);
        for (int u = 0; u < kUnits; ++u) _mm256_store_ps(chunk.scales[u] + first, numbers.block_scales[0][u]);
        if constexpr (Format::kHasMin) {
            transpose_avx2(numbers.block_scales[1]);
            for (int u = 0; u < kUnits; ++u)
                _mm256_store_ps(chunk.minimums[u] + first, numbers.block_scales[1][u]);
        }
    } else {
        for (int g = 0; g < kGroupsPerChunk<Format>; ++g)
            for (int r = 0; r < kLanes; ++r)
                chunk.integer_scales[g][first + r] =
                    kVnni<Format> ? numbers.scales[r][g]
                                  : static_cast<std::int32_t>(
                                        0x10001U * static_cast<std::uint16_t>(numbers.scales[r][g]));
        _mm256_store_ps(chunk.scales[0] + first,
                        _mm256_mul_ps(halves_avx2(numbers.factors[0]), _mm256_set1_ps(unit_of<Format>())));
        if constexpr (Format::kHasMin) {
            _mm256_store_ps(chunk.minimums[0] + first,
                            _mm256_xor_ps(halves_avx2(numbers.factors[1]), _mm256_set1_ps(-0.0F)));
            __m256i pairs[kLanes];
            GR_UNROLL
            for (int r = 0; r < kLanes; ++r)
                pairs[r] = _mm256_load_si256(reinterpret_cast<const __m256i*>(numbers.minimums[r]));
            transpose_avx2(pairs);
            GR_UNROLL
            for (int g = 0; g < kGroupsPerChunk<Format> / 2; ++g)
                _mm256_store_si256(reinterpret_cast<__m256i*>(chunk.integer_minimums[g][first]), pairs[g]);
        }
    }
}

template <class Format>
GR_AVX2 [[gnu::noinline]] void lay_out_avx2(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                                            std::int64_t c, std::int64_t n_values,
                                            TileChunk& chunk) noexcept {
    using Block = typename Format::Block;
    for (int first = 0; first < kTileRows; first += kLanes) {
        Block last[kLanes][kBlocksPerChunk<Format>];
        const Block* blocks[kLanes];
        find_blocks<Format, kLanes>(rows, row_bytes, n_rows, first, c, n_values, last, blocks);
        lay_out_8_rows_avx2<Format>(blocks, first, chunk);
    }
}

// ---- Multiplying ----

// Sums of pairs of products, over as many quads as words hold.
template <class Format>
inline constexpr int kQuadsInWords =
    std::min<int>(Format::kGroup / 4, std::bit_floor(32767U / (2 * 127 * std::min(Format::kLargest, 128))));

template <class Format>
GR_AVX2_INLINE __m256i tile_products_avx2(__m256i w, __m256i x) noexcept {
    if constexpr (kTooLarge<Format>)
        return _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    else
        return _mm256_maddubs_epi16(w, x);
}

GR_AVX2_INLINE void add_scaled_avx2(float* sums, __m256 values, __m256 factors) noexcept {
    _mm256_store_ps(sums, _mm256_fmadd_ps(values, factors, _mm256_load_ps(sums)));
}
GR_AVX2_INLINE __m256i load_lanes_avx2(const void* lanes) noexcept {
    return _mm256_load_si256(static_cast<const __m256i*>(lanes));
}

// Σ number · sum over pairs of groups for 8 rows.
template <int kPairs>
GR_AVX2_INLINE __m256i dot_pairs_avx2(const std::int16_t (*numbers)[kTileRows][2], int first,
                                      const std::int16_t* sums) noexcept {
    __m256i sum = _mm256_setzero_si256();
    GR_UNROLL
    for (int g = 0; g < kPairs; ++g)
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(load_lanes_avx2(numbers[g][first]),
                                                      _mm256_set1_epi32(lane_at(sums + 2 * g))));
    return sum;
}

// What the offset of the weights adds to the sums of one vector with 8 rows.
template <class Format>
GR_AVX2_INLINE __m256i offsets_avx2(const TileChunk& chunk, int first, const std::int16_t* sums) noexcept {
    __m256i all = _mm256_setzero_si256();
    for (int g = 0; g < kGroupsPerChunk<Format>; ++g) {
        const __m256i sum = _mm256_set1_epi32(static_cast<std::uint16_t>(sums[g]));
        all = _mm256_add_epi32(all, _mm256_madd_epi16(load_lanes_avx2(chunk.integer_scales[g] + first), sum));
    }
    return _mm256_mullo_epi32(all, _mm256_set1_epi32(Format::kOffset));
}

// What a vector adds to the sums of 8 rows: floats or integers.
template <bool kFloats>
struct Total256 {
    __m256i v;
};
template <>
struct Total256<true> {
    __m256 v;
};

// of_group[j] = the products of group g of 8 rows with a plane of each vector, times their integer scales.
template <class Format, int kN>
GR_AVX2_INLINE void multiply_group_avx2(const TileChunk& chunk, int first, int g, const std::int8_t* const* q,
                                        __m256i* of_group) noexcept {
    constexpr int kQuadsPerGroup = Format::kGroup / 4;
    constexpr int kQuads = kQuadsInWords<Format>;
    const __m256i scale =
        Format::kFloatScales ? _mm256_set1_epi16(1) : load_lanes_avx2(chunk.integer_scales[g] + first);
    for (int i = 0; i < kQuadsPerGroup; i += kQuads) {
        __m256i words[kN];
        GR_UNROLL
        for (int k = 0; k < kQuads; ++k) {
            const int quad = kQuadsPerGroup * g + i + k;
            const __m256i w = load_lanes_avx2(chunk.weights[quad][first]);
            GR_UNROLL
            for (int j = 0; j < kN; ++j) {
                const __m256i products =
                    tile_products_avx2<Format>(w, _mm256_set1_epi32(lane_at(q[j] + 4 * quad)));
                words[j] = k == 0 ? products : _mm256_add_epi16(words[j], products);
            }
        }
        GR_UNROLL
        for (int j = 0; j < kN; ++j) {
            const __m256i sums = _mm256_madd_epi16(words[j], scale);
            of_group[j] = i == 0 ? sums : _mm256_add_epi32(of_group[j], sums);
        }
    }
}

// The same with AVX-VNNI.
template <class Format, int kN>
GR_AVX2_INLINE void multiply_group_vnni(const TileChunk& chunk, int first, int g, const std::int8_t* const* q,
                                        __m256i* of_group) noexcept {
    constexpr int kQuadsPerGroup = Format::kGroup / 4;
    GR_UNROLL
    for (int j = 0; j < kN; ++j) of_group[j] = _mm256_setzero_si256();
    GR_UNROLL
    for (int i = 0; i < kQuadsPerGroup; ++i) {
        const int quad = kQuadsPerGroup * g + i;
        const __m256i w = load_lanes_avx2(chunk.weights[quad][first]);
        GR_UNROLL
        for (int j = 0; j < kN; ++j)
            add_byte_products_vnni(of_group[j], w, _mm256_set1_epi32(lane_at(q[j] + 4 * quad)));
    }
    if constexpr (!Format::kFloatScales) {
        const __m256i scale = load_lanes_avx2(chunk.integer_scales[g] + first);
        GR_UNROLL
        for (int j = 0; j < kN; ++j) of_group[j] = _mm256_mullo_epi32(of_group[j], scale);
    }
}

// sums[j][first …] += what a chunk gives 8 rows for one plane of each of kN vectors.
template <class Format, int kN>
GR_AVX2_INLINE void add_plane_avx2(const TileChunk& chunk, int first, const ActivationBlock* const* x,
                                   std::int64_t c, int n_groups, int plane,
                                   float (*sums)[kTileRows]) noexcept {
    using Total = Total256<Format::kFloatScales>;
    Total totals[kN];
    const std::int8_t* q[kN];
    GR_UNROLL
    for (int j = 0; j < kN; ++j) {
        q[j] = x[j][c].planes[plane];
        totals[j] = Total{};
    }
    for (int g = 0; g < n_groups; ++g) {
        __m256i of_group[kN];
        if constexpr (kVnni<Format>)
            multiply_group_vnni<Format, kN>(chunk, first, g, q, of_group);
        else
            multiply_group_avx2<Format, kN>(chunk, first, g, q, of_group);
        GR_UNROLL
        for (int j = 0; j < kN; ++j) {
            if constexpr (Format::kFloatScales) {
                if constexpr (Format::kOffset != 0 && !kTooLarge<Format>)
                    of_group[j] = _mm256_sub_epi32(
                        of_group[j], _mm256_set1_epi32(Format::kOffset * x[j][c].wide_sums[plane][g]));
                totals[j].v = _mm256_fmadd_ps(_mm256_cvtepi32_ps(of_group[j]),
                                              _mm256_load_ps(chunk.scales[g] + first), totals[j].v);
            } else {
                totals[j].v = _mm256_add_epi32(totals[j].v, of_group[j]);
            }
        }
    }
    for (int j = 0; j < kN; ++j) {
        const ActivationBlock& block = x[j][c];
        const __m256 plane_scale = _mm256_set1_ps(block.plane_scale(plane));
        if constexpr (Format::kFloatScales) {
            if constexpr (Format::kHasMin)
                for (int u = 0; u < n_groups; ++u)
                    totals[j].v =
                        _mm256_fmadd_ps(_mm256_set1_ps(static_cast<float>(block.wide_sums[plane][u])),
                                        _mm256_load_ps(chunk.minimums[u] + first), totals[j].v);
            add_scaled_avx2(sums[j] + first, totals[j].v, plane_scale);
        } else {
            const std::int16_t* of_groups = group_sums<Format>(block, plane);
            if constexpr (Format::kOffset != 0)
                totals[j].v = _mm256_sub_epi32(totals[j].v, offsets_avx2<Format>(chunk, first, of_groups));
            add_scaled_avx2(sums[j] + first, _mm256_cvtepi32_ps(totals[j].v),
                            _mm256_mul_ps(_mm256_load_ps(chunk.scales[0] + first), plane_scale));
            if constexpr (Format::kHasMin)
                add_scaled_avx2(sums[j] + first,
                                _mm256_cvtepi32_ps(dot_pairs_avx2<kGroupsPerChunk<Format> / 2>(
                                    chunk.integer_minimums, first, of_groups)),
                                _mm256_mul_ps(_mm256_load_ps(chunk.minimums[0] + first), plane_scale));
        }
    }
}

template <class Format, int kN>
GR_AVX2 [[gnu::noinline]] void add_chunk_avx2(const TileChunk& chunk, const ActivationBlock* const* x,
                                              std::int64_t c, int n_groups, Planes planes,
                                              float (*sums)[kTileRows]) noexcept {
    for (int plane = 0; plane < n_planes(planes); ++plane)
        for (int first = 0; first < kTileRows; first += kLanes)
            add_plane_avx2<Format, kN>(chunk, first, x, c, n_groups, plane, sums);
}

template <class Format>
GR_AVX2 void dot_tile_avx2(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                           const ActivationBlock* const* x, int n_vectors, Planes planes,
                           std::int64_t n_values, float* out) noexcept {
    constexpr int kMost = 4;
    auto* sums = reinterpret_cast<float(*)[kTileRows]>(out);
    std::memset(out, 0, static_cast<std::size_t>(n_vectors) * sizeof sums[0]);
    TileChunk chunk;
    const std::int64_t n_chunks = activation_blocks(n_values);
    for (std::int64_t c = 0; c < n_chunks; ++c) {
        lay_out_avx2<Format>(rows, row_bytes, n_rows, c, n_values, chunk);
        NextChunk<Format> next(rows, row_bytes, n_rows, c, n_chunks, (n_vectors + kMost - 1) / kMost);
        const int n_groups = groups_of_chunk<Format>(c, n_values);
        int j = 0;
        for (; j + kMost <= n_vectors; j += kMost) {
            next.fetch_part();
            add_chunk_avx2<Format, kMost>(chunk, x + j, c, n_groups, planes, sums + j);
        }
        if (j < n_vectors) next.fetch_part();
        for (; j < n_vectors; ++j) add_chunk_avx2<Format, 1>(chunk, x + j, c, n_groups, planes, sums + j);
    }
}

}  // namespace greenroom::cpu
