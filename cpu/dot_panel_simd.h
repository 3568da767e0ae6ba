#pragma once

// The frame of the kernels for many vectors (dot_quant.h): 16 rows of weights, laid out as a panel in which
// each row has a lane of its own. Sums over the values of a group then need no shuffles, and the weights are
// unpacked once for all vectors. Formats are those of dot_quant_simd.h.
//
// Per group of 16 values, 16 rows and a vector: four dpbusd, which add up the group in integers, a conversion
// and two or three float operations. The lanes of dot_quant.h are kept per row, one array of rows for each,
// and added in the same order in the end: the same bits as from the kernels for a single row.

#include "cpu/dot_quant.h"
#include "cpu/simd.h"

#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

// The numbers (scales or minimums) of 16 groups of 16, from those of the format's groups.
template <int kGroup>
GR_AVX512_INLINE __m512 spread_avx512(const __m256* numbers) noexcept {
    const __m512 low = _mm512_castps256_ps512(numbers[0]);
    if constexpr (kGroup == 16) return _mm512_insertf32x8(low, numbers[1], 1);
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7), low);
}

// Turns 16 vectors of 16 numbers of 32 bits around: out[i][r] = in[r][i].
GR_AVX512_INLINE void transpose_avx512(__m512i* v) noexcept {
    __m512i pairs[16];
    GR_UNROLL
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
    }
    // quads[i + k]: in 128-bit lane l the numbers 4l + k of rows i … i + 3.
    __m512i quads[16];
    GR_UNROLL
    for (int i = 0; i < 16; i += 4) {
        quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    GR_UNROLL
    for (int k = 0; k < 4; ++k) {
        const __m512i even_low = _mm512_shuffle_i32x4(quads[k], quads[4 + k], 0x88);
        const __m512i odd_low = _mm512_shuffle_i32x4(quads[k], quads[4 + k], 0xdd);
        const __m512i even_high = _mm512_shuffle_i32x4(quads[8 + k], quads[12 + k], 0x88);
        const __m512i odd_high = _mm512_shuffle_i32x4(quads[8 + k], quads[12 + k], 0xdd);
        v[k] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
        v[4 + k] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
        v[8 + k] = _mm512_shuffle_i32x4(even_low, even_high, 0xdd);
        v[12 + k] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xdd);
    }
}

template <class Format>
GR_AVX512 void pack_avx512(const std::byte* rows, std::int64_t row_bytes, std::int64_t n_values,
                           PanelChunk* panel) noexcept {
    using Block = typename Format::Block;
    constexpr int kBlocks = ActivationBlock::kValues / Block::kValues;
    const std::int64_t n_chunks = activation_blocks(n_values);
    for (std::int64_t c = 0; c < n_chunks; ++c, ++panel) {
        __m512i weights[4][kPanelRows];
        __m512i scales[kPanelRows];
        __m512i minimums[kPanelRows];
        for (int r = 0; r < kPanelRows; ++r) {
            const auto* block = reinterpret_cast<const Block*>(rows + r * row_bytes) + c * kBlocks;
            Block last[kBlocks];
            if (const std::int64_t left = n_values - c * ActivationBlock::kValues;
                left < ActivationBlock::kValues) {
                std::memset(static_cast<void*>(last), 0, sizeof last);
                std::memcpy(static_cast<void*>(last), block,
                            static_cast<std::size_t>(left / Block::kValues) * sizeof(Block));
                block = last;
            }
            __m512i parts[4];
            Format::weights_avx512(block, parts);
            for (int p = 0; p < 4; ++p) weights[p][r] = parts[p];
            __m256 of_format[2];
            Format::scales(block, of_format);
            scales[r] = _mm512_castps_si512(spread_avx512<Format::kGroup>(of_format));
            if constexpr (Format::kHasMin) {
                Format::minimums(block, of_format);
                minimums[r] = _mm512_castps_si512(spread_avx512<Format::kGroup>(of_format));
            }
        }
        for (int p = 0; p < 4; ++p) {
            transpose_avx512(weights[p]);
            for (int i = 0; i < 16; ++i) _mm512_store_si512(panel->weights[16 * p + i], weights[p][i]);
        }
        transpose_avx512(scales);
        for (int g = 0; g < ActivationBlock::kGroups; ++g) _mm512_store_si512(panel->scales[g], scales[g]);
        if constexpr (Format::kHasMin) {
            transpose_avx512(minimums);
            for (int g = 0; g < ActivationBlock::kGroups; ++g)
                _mm512_store_si512(panel->minimums[g], minimums[g]);
        }
    }
}

// Four values of a vector, for all rows.
GR_AVX512_INLINE __m512i broadcast_quad(const std::int8_t* q) noexcept {
    std::int32_t quad = 0;
    std::memcpy(&quad, q, sizeof quad);
    return _mm512_set1_epi32(quad);
}

template <class Format>
GR_AVX512 void dot_panel_avx512(const PanelChunk* panel, const ActivationBlock* const* x, int n_vectors,
                                std::int64_t n_values, float* out) noexcept {
    constexpr int kGroups = ActivationBlock::kGroups;
    alignas(64) float lanes[kPanelVectors][kGroups][kPanelRows];
    std::memset(lanes, 0, static_cast<std::size_t>(n_vectors) * sizeof lanes[0]);
    const std::int64_t n_chunks = activation_blocks(n_values);
    // Of each vector's groups, to be broadcast: what the minimum is multiplied by, and what the offset of the
    // weights has added to the sum.
    alignas(64) float of_minimum[kPanelVectors][kGroups];
    alignas(64) std::int32_t of_offset[kPanelVectors][kGroups];
    for (std::int64_t c = 0; c < n_chunks; ++c, ++panel) {
        for (int j = 0; j < n_vectors; ++j) {
            const ActivationBlock& a = x[j][c];
            const __m512i sums =
                _mm512_cvtepi16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(a.sums)));
            if constexpr (Format::kHasMin)
                _mm512_store_ps(of_minimum[j],
                                _mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_load_ps(a.scales)));
            if constexpr (Format::kOffset != 0)
                _mm512_store_si512(of_offset[j],
                                   _mm512_mullo_epi32(sums, _mm512_set1_epi32(Format::kOffset)));
        }
        for (int g = 0; g < kGroups; ++g) {
            __m512i w[4];
            GR_UNROLL
            for (int i = 0; i < 4; ++i) w[i] = _mm512_load_si512(panel->weights[4 * g + i]);
            const __m512 scales = _mm512_load_ps(panel->scales[g]);
            __m512 minimums = _mm512_setzero_ps();
            if constexpr (Format::kHasMin) minimums = _mm512_load_ps(panel->minimums[g]);
            for (int j = 0; j < n_vectors; ++j) {
                const ActivationBlock& a = x[j][c];
                __m512i sums = _mm512_setzero_si512();
                GR_UNROLL
                for (int i = 0; i < 4; ++i)
                    sums = _mm512_dpbusd_epi32(sums, w[i], broadcast_quad(a.q + 16 * g + 4 * i));
                if constexpr (Format::kOffset != 0)
                    sums = _mm512_sub_epi32(sums, _mm512_set1_epi32(of_offset[j][g]));
                __m512 lane = _mm512_load_ps(lanes[j][g]);
                lane = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums),
                                       _mm512_mul_ps(scales, _mm512_set1_ps(a.scales[g])), lane);
                if constexpr (Format::kHasMin)
                    lane = _mm512_fmadd_ps(minimums, _mm512_set1_ps(of_minimum[j][g]), lane);
                _mm512_store_ps(lanes[j][g], lane);
            }
        }
    }
    // The order of sum_avx512().
    for (int j = 0; j < n_vectors; ++j) {
        __m512 sums[kGroups];
        GR_UNROLL
        for (int g = 0; g < kGroups; ++g) sums[g] = _mm512_load_ps(lanes[j][g]);
        GR_UNROLL
        for (int g = 0; g < 8; ++g) sums[g] = _mm512_add_ps(sums[g], sums[g + 8]);
        GR_UNROLL
        for (int g = 0; g < 4; ++g) sums[g] = _mm512_add_ps(sums[g], sums[g + 4]);
        GR_UNROLL
        for (int g = 0; g < 2; ++g) sums[g] = _mm512_add_ps(sums[g], sums[g + 2]);
        _mm512_storeu_ps(out + j * kPanelRows, _mm512_add_ps(sums[0], sums[1]));
    }
}

}  // namespace greenroom::cpu
