#pragma once

// Panels for AVX2, see dot_panel.h.

#include "cpu/dot_panel.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

// ---- Laying out ----

// 256 values of 8 rows to the lanes from `first` on.
template <class Format>
GR_AVX2_INLINE void pack_8_rows_avx2(const typename Format::Block* const* blocks, int first,
                                     PanelChunk& chunk) noexcept {
    constexpr int kRows = 8;
    // Words, rows as they are.
    alignas(64) std::int16_t rows[kRows][ActivationBlock::kValues];
    PanelNumbers<Format, kRows> numbers;
    for (int r = 0; r < kRows; ++r) {
        __m256i w[8];
        Format::weights_avx2(blocks[r], w);
        numbers.take(r, blocks[r]);
        for (int i = 0; i < 8; ++i)
            for (int half = 0; half < 2; ++half) {
                __m256i words = _mm256_cvtepu8_epi16(half == 0 ? _mm256_castsi256_si128(w[i])
                                                               : _mm256_extracti128_si256(w[i], 1));
                words = _mm256_sub_epi16(words, _mm256_set1_epi16(Format::kOffset));
                const int at = 32 * i + 16 * half;
                if constexpr (kIntegerScales<Format>)
                    words =
                        _mm256_mullo_epi16(words, _mm256_set1_epi16(numbers.scales[r][at / Format::kGroup]));
                _mm256_store_si256(reinterpret_cast<__m256i*>(rows[r] + at), words);
            }
    }
    for (int i = 0; i < ActivationBlock::kValues; i += 16) {
        __m256i pairs[kRows];
        GR_UNROLL
        for (int r = 0; r < kRows; ++r)
            pairs[r] = _mm256_load_si256(reinterpret_cast<const __m256i*>(rows[r] + i));
        transpose_avx2(pairs);
        GR_UNROLL
        for (int k = 0; k < 8; ++k)
            _mm256_store_si256(reinterpret_cast<__m256i*>(chunk.weights[i / 2 + k][first]), pairs[k]);
    }
    if constexpr (kIntegerScales<Format>) {
        _mm256_store_ps(chunk.scales[0] + first, halves_avx2(numbers.factors[0]));
        if constexpr (Format::kHasMin) {
            _mm256_store_ps(chunk.minimums[0] + first,
                            _mm256_xor_ps(halves_avx2(numbers.factors[1]), _mm256_set1_ps(-0.0F)));
            __m256i pairs[kRows];
            GR_UNROLL
            for (int r = 0; r < kRows; ++r)
                pairs[r] = _mm256_load_si256(reinterpret_cast<const __m256i*>(numbers.minimums[r]));
            transpose_avx2(pairs);
            GR_UNROLL
            for (int g = 0; g < 8; ++g)
                _mm256_store_si256(reinterpret_cast<__m256i*>(chunk.integer_minimums[g][first]), pairs[g]);
        }
    } else {
        transpose_avx2(numbers.block_scales[0]);
        for (int u = 0; u < PanelChunk::kUnits; ++u)
            _mm256_store_ps(chunk.scales[u] + first, numbers.block_scales[0][u]);
        if constexpr (Format::kHasMin) {
            transpose_avx2(numbers.block_scales[1]);
            for (int u = 0; u < PanelChunk::kUnits; ++u)
                _mm256_store_ps(chunk.minimums[u] + first, numbers.block_scales[1][u]);
        }
    }
}

template <class Format>
GR_AVX2 void pack_avx2(const std::byte* rows, std::int64_t row_bytes, int n_rows, std::int64_t n_values,
                       PanelChunk* panel) noexcept {
    using Block = typename Format::Block;
    constexpr int kRows = 8;
    const std::int64_t n_chunks = activation_blocks(n_values);
    for (std::int64_t c = 0; c < n_chunks; ++c, ++panel)
        for (int first = 0; first < kTileRows; first += kRows) {
            Block last[kRows][kBlocksPerChunk<Format>];
            const Block* blocks[kRows];
            find_blocks<Format, kRows>(rows, row_bytes, n_rows, first, c, n_values, last, blocks);
            pack_8_rows_avx2<Format>(blocks, first, *panel);
        }
}

// ---- Multiplying ----

GR_AVX2_INLINE __m256i load_pairs_avx2(const std::int16_t (*pairs)[2]) noexcept {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(pairs));
}

GR_AVX2_INLINE void add_scaled_avx2(float* sums, __m256i integers, const float* scales,
                                    __m256 x_scale) noexcept {
    _mm256_store_ps(
        sums, _mm256_fmadd_ps(_mm256_cvtepi32_ps(integers), _mm256_mul_ps(_mm256_load_ps(scales), x_scale),
                              _mm256_load_ps(sums)));
}

// Four vectors with 16 rows of a panel, those from `first` on.
template <int kUnit, Minimums kMinimums>
GR_AVX2_INLINE void dot_panel_of_four(const PanelChunk* panel, int first, const ActivationBlock* const* x,
                                      std::int64_t n_chunks, float (*sums)[kTileRows]) noexcept {
    constexpr int kN = 4;
    constexpr int kLanes = 8;
    const int second = first + kLanes;
    for (std::int64_t c = 0; c < n_chunks; ++c, ++panel) {
        constexpr int kUnits = ActivationBlock::kValues / kUnit;
        for (int u = 0; u < kUnits; ++u) {
            __m256i of_unit[kN][2];
            const std::int16_t* q[kN];
            GR_UNROLL
            for (int j = 0; j < kN; ++j) {
                of_unit[j][0] = of_unit[j][1] = _mm256_setzero_si256();
                q[j] = x[j][c].q + kUnit * u;
            }
            for (int i = 0; i < kUnit / 2; ++i) {
                const auto& weights = panel->weights[kUnit / 2 * u + i];
                const __m256i low = load_pairs_avx2(weights + first);
                const __m256i high = load_pairs_avx2(weights + second);
                GR_UNROLL
                for (int j = 0; j < kN; ++j) {
                    const __m256i pair = _mm256_set1_epi32(pair_at(q[j] + 2 * i));
                    of_unit[j][0] = _mm256_add_epi32(of_unit[j][0], _mm256_madd_epi16(low, pair));
                    of_unit[j][1] = _mm256_add_epi32(of_unit[j][1], _mm256_madd_epi16(high, pair));
                }
            }
            const float* scales = panel->scales[kUnit == 32 ? u : 0];
            GR_UNROLL
            for (int j = 0; j < kN; ++j) {
                const __m256 x_scale = _mm256_set1_ps(x[j][c].scale);
                add_scaled_avx2(sums[j] + first, of_unit[j][0], scales + first, x_scale);
                add_scaled_avx2(sums[j] + second, of_unit[j][1], scales + second, x_scale);
                if constexpr (kMinimums == Minimums::floats) {
                    const __m256i sum = _mm256_set1_epi32(x[j][c].sums[2 * u] + x[j][c].sums[2 * u + 1]);
                    add_scaled_avx2(sums[j] + first, sum, panel->minimums[u] + first, x_scale);
                    add_scaled_avx2(sums[j] + second, sum, panel->minimums[u] + second, x_scale);
                }
            }
        }
        if constexpr (kMinimums == Minimums::of_8_groups || kMinimums == Minimums::of_16_groups) {
            constexpr int kPairs = kMinimums == Minimums::of_8_groups ? 4 : 8;
            for (int j = 0; j < kN; ++j) {
                SumWords words;
                split_sums<kMinimums == Minimums::of_8_groups ? 32 : 16>(x[j][c], words);
                for (int at = first; at <= second; at += kLanes) {
                    __m256i high = _mm256_setzero_si256();
                    __m256i low = _mm256_setzero_si256();
                    GR_UNROLL
                    for (int g = 0; g < kPairs; ++g) {
                        const __m256i pairs = load_pairs_avx2(panel->integer_minimums[g] + at);
                        high = _mm256_add_epi32(
                            high, _mm256_madd_epi16(pairs, _mm256_set1_epi32(pair_at(words.high + 2 * g))));
                        low = _mm256_add_epi32(
                            low, _mm256_madd_epi16(pairs, _mm256_set1_epi32(pair_at(words.low + 2 * g))));
                    }
                    add_scaled_avx2(sums[j] + at, _mm256_add_epi32(_mm256_slli_epi32(high, 8), low),
                                    panel->minimums[0] + at, _mm256_set1_ps(x[j][c].scale));
                }
            }
        }
    }
}

template <int kUnit, Minimums kMinimums>
GR_AVX2 void dot_panel_avx2(const PanelChunk* panel, const ActivationBlock* const* x, int n_vectors,
                            std::int64_t n_values, float* out) noexcept {
    constexpr int kN = 4;
    const std::int64_t n_chunks = activation_blocks(n_values);
    for (int done = 0; done < n_vectors; done += kN) {
        const int n = std::min(n_vectors - done, kN);
        const ActivationBlock* vectors[kN];
        for (int j = 0; j < kN; ++j) vectors[j] = x[done + std::min(j, n - 1)];
        alignas(64) float sums[kN][kTileRows] = {};
        for (int first = 0; first < kTileRows; first += 16)
            dot_panel_of_four<kUnit, kMinimums>(panel, first, vectors, n_chunks, sums);
        std::memcpy(out + done * kTileRows, sums, static_cast<std::size_t>(n) * sizeof sums[0]);
    }
}

}  // namespace greenroom::cpu
