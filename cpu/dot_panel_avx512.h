#pragma once

// Panels for AVX-512, see dot_panel.h.

#include "cpu/dot_panel.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

// ---- Laying out ----

// Words of 16 rows, 16 groups each, to lanes: out[g] has the number of row r in both words of lane r.
GR_AVX512_INLINE void spread_words_avx512(const std::int16_t (*words)[ActivationBlock::kGroups],
                                          __m512i* out) noexcept {
    GR_UNROLL
    for (int r = 0; r < 16; ++r) {
        const __m256i of_row = _mm256_load_si256(reinterpret_cast<const __m256i*>(words[r]));
        const __m512i low = _mm512_cvtepu16_epi32(of_row);
        out[r] = _mm512_or_si512(low, _mm512_slli_epi32(low, 16));
    }
    transpose_avx512(out);
}

// 256 values of 16 rows to lanes 16 · half … of a chunk. blocks: those of each row.
template <class Format>
GR_AVX512_INLINE void pack_16_rows_avx512(const typename Format::Block* const* blocks, int half,
                                          PanelChunk& chunk) noexcept {
    constexpr int kRows = 16;
    const int first = kRows * half;
    __m512i weights[4][kRows];
    PanelNumbers<Format, kRows> numbers;
    // The second and third of four bytes change places: then their even bytes are the first two.
    const __m512i order =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    for (int r = 0; r < kRows; ++r) {
        __m512i parts[4];
        Format::weights_avx512(blocks[r], parts);
        GR_UNROLL
        for (int p = 0; p < 4; ++p) weights[p][r] = _mm512_shuffle_epi8(parts[p], order);
        numbers.take(r, blocks[r]);
    }
    [[maybe_unused]] __m512i of_group[kRows];
    if constexpr (kIntegerScales<Format>) spread_words_avx512(numbers.scales, of_group);
    const __m512i even = _mm512_set1_epi16(0xff);
    const __m512i offset = _mm512_set1_epi16(Format::kOffset);
    for (int p = 0; p < 4; ++p) {
        transpose_avx512(weights[p]);
        GR_UNROLL
        for (int i = 0; i < 16; ++i) {
            const __m512i four = weights[p][i];
            __m512i pairs[2] = {_mm512_and_si512(four, even), _mm512_srli_epi16(four, 8)};
            GR_UNROLL
            for (int k = 0; k < 2; ++k) {
                if constexpr (Format::kOffset != 0) pairs[k] = _mm512_sub_epi16(pairs[k], offset);
                if constexpr (kIntegerScales<Format>)
                    pairs[k] = _mm512_mullo_epi16(pairs[k], of_group[(64 * p + 4 * i) / Format::kGroup]);
                _mm512_store_si512(chunk.weights[32 * p + 2 * i + k][first], pairs[k]);
            }
        }
    }
    if constexpr (kIntegerScales<Format>) {
        _mm512_store_ps(chunk.scales[0] + first, halves_avx512(numbers.factors[0]));
        if constexpr (Format::kHasMin) {
            const __m512 minus_zero = _mm512_set1_ps(-0.0F);
            _mm512_store_ps(chunk.minimums[0] + first,
                            _mm512_xor_ps(halves_avx512(numbers.factors[1]), minus_zero));
            __m512i pairs[kRows];
            GR_UNROLL
            for (int r = 0; r < kRows; ++r)
                pairs[r] = _mm512_castsi256_si512(
                    _mm256_load_si256(reinterpret_cast<const __m256i*>(numbers.minimums[r])));
            transpose_avx512(pairs);
            GR_UNROLL
            for (int g = 0; g < ActivationBlock::kGroups / 2; ++g)
                _mm512_store_si512(chunk.integer_minimums[g][first], pairs[g]);
        }
    } else {
        __m512 of_block[PanelChunk::kUnits];
        transpose_16x8_avx512(numbers.block_scales[0], of_block);
        GR_UNROLL
        for (int u = 0; u < PanelChunk::kUnits; ++u) _mm512_store_ps(chunk.scales[u] + first, of_block[u]);
        if constexpr (Format::kHasMin) {
            transpose_16x8_avx512(numbers.block_scales[1], of_block);
            GR_UNROLL
            for (int u = 0; u < PanelChunk::kUnits; ++u)
                _mm512_store_ps(chunk.minimums[u] + first, of_block[u]);
        }
    }
}

template <class Format>
GR_AVX512 void pack_avx512(const std::byte* rows, std::int64_t row_bytes, int n_rows, std::int64_t n_values,
                           PanelChunk* panel) noexcept {
    using Block = typename Format::Block;
    constexpr int kRows = 16;
    const std::int64_t n_chunks = activation_blocks(n_values);
    for (std::int64_t c = 0; c < n_chunks; ++c, ++panel)
        for (int half = 0; half < kTileRows / kRows; ++half) {
            Block last[kRows][kBlocksPerChunk<Format>];
            const Block* blocks[kRows];
            find_blocks<Format, kRows>(rows, row_bytes, n_rows, kRows * half, c, n_values, last, blocks);
            pack_16_rows_avx512<Format>(blocks, half, *panel);
        }
}

// ---- Multiplying ----

// Σq of the groups that share a minimum; in the words 0 … 7 for groups of 32.
template <int kGroup>
GR_AVX512_INLINE void split_sums_avx512(const ActivationBlock& x, SumWords& words) noexcept {
    const __m512i sums = _mm512_load_si512(x.sums);
    if constexpr (kGroup == 16) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(words.high),
                           _mm512_cvtepi32_epi16(_mm512_srai_epi32(sums, 8)));
        _mm256_store_si256(reinterpret_cast<__m256i*>(words.low),
                           _mm512_cvtepi32_epi16(_mm512_and_si512(sums, _mm512_set1_epi32(255))));
    } else {
        const __m256i of_32 = _mm512_cvtepi64_epi32(_mm512_add_epi32(sums, _mm512_srli_epi64(sums, 32)));
        _mm_store_si128(reinterpret_cast<__m128i*>(words.high),
                        _mm256_cvtepi32_epi16(_mm256_srai_epi32(of_32, 8)));
        _mm_store_si128(reinterpret_cast<__m128i*>(words.low),
                        _mm256_cvtepi32_epi16(_mm256_and_si256(of_32, _mm256_set1_epi32(255))));
    }
}

GR_AVX512_INLINE void add_scaled_avx512(float* sums, __m512i integers, const float* scales,
                                        __m512 x_scale) noexcept {
    _mm512_store_ps(
        sums, _mm512_fmadd_ps(_mm512_cvtepi32_ps(integers), _mm512_mul_ps(_mm512_load_ps(scales), x_scale),
                              _mm512_load_ps(sums)));
}

// Σ minimum · sum for 16 rows.
template <Minimums kMinimums>
GR_AVX512_INLINE __m512i dot_minimums_avx512(const PanelChunk& chunk, int first,
                                             const SumWords& sums) noexcept {
    constexpr int kPairs = kMinimums == Minimums::of_8_groups ? 4 : 8;
    __m512i sum = _mm512_setzero_si512();
    GR_UNROLL
    for (int g = 0; g < kPairs; ++g)
        add_products_avx512(sum, _mm512_load_si512(chunk.integer_minimums[g][first]),
                            _mm512_set1_epi32(pair_at(sums.high + 2 * g)));
    sum = _mm512_slli_epi32(sum, 8);
    GR_UNROLL
    for (int g = 0; g < kPairs; ++g)
        add_products_avx512(sum, _mm512_load_si512(chunk.integer_minimums[g][first]),
                            _mm512_set1_epi32(pair_at(sums.low + 2 * g)));
    return sum;
}

// What a chunk's integer minimums add to the sums of one vector.
template <Minimums kMinimums>
GR_AVX512_INLINE void add_minimums_avx512(const PanelChunk& chunk, const ActivationBlock& x,
                                          float* sums) noexcept {
    SumWords words;
    split_sums_avx512<kMinimums == Minimums::of_8_groups ? 32 : 16>(x, words);
    const __m512 x_scale = _mm512_set1_ps(x.scale);
    GR_UNROLL
    for (int first = 0; first < kTileRows; first += 16)
        add_scaled_avx512(sums + first, dot_minimums_avx512<kMinimums>(chunk, first, words),
                          chunk.minimums[0] + first, x_scale);
}

// sums[j][r] += what a unit of a chunk, kUnit weights, adds for vector j.
template <int kUnit, Minimums kMinimums, int kN>
GR_AVX512_INLINE void add_unit_avx512(const PanelChunk& chunk, int unit, const ActivationBlock* const* x,
                                      float (*sums)[kTileRows]) noexcept {
    constexpr int kHalf = 16;
    __m512i of_unit[kN][2];
    const std::int16_t* q[kN];
    GR_UNROLL
    for (int j = 0; j < kN; ++j) {
        of_unit[j][0] = of_unit[j][1] = _mm512_setzero_si512();
        q[j] = x[j]->q + kUnit * unit;
    }
    const auto* weights = chunk.weights + kUnit / 2 * unit;
    for (int i = 0; i < kUnit / 2; ++i) {
        const __m512i low = _mm512_load_si512(weights[i][0]);
        const __m512i high = _mm512_load_si512(weights[i][kHalf]);
        GR_UNROLL
        for (int j = 0; j < kN; ++j) {
            const __m512i pair = _mm512_set1_epi32(pair_at(q[j] + 2 * i));
            add_products_avx512(of_unit[j][0], low, pair);
            add_products_avx512(of_unit[j][1], high, pair);
        }
    }
    const float* scales = chunk.scales[kUnit == 32 ? unit : 0];
    GR_UNROLL
    for (int j = 0; j < kN; ++j) {
        const __m512 x_scale = _mm512_set1_ps(x[j]->scale);
        add_scaled_avx512(sums[j], of_unit[j][0], scales, x_scale);
        add_scaled_avx512(sums[j] + kHalf, of_unit[j][1], scales + kHalf, x_scale);
        if constexpr (kMinimums == Minimums::floats) {
            const __m512i sum = _mm512_set1_epi32(x[j]->sums[2 * unit] + x[j]->sums[2 * unit + 1]);
            add_scaled_avx512(sums[j], sum, chunk.minimums[unit], x_scale);
            add_scaled_avx512(sums[j] + kHalf, sum, chunk.minimums[unit] + kHalf, x_scale);
        }
    }
}

// kN vectors with all rows of a panel. A function of its own for each kN: g++ 12 spills the sums otherwise.
template <int kUnit, Minimums kMinimums, int kN>
GR_AVX512 [[gnu::noinline]] void dot_panel_of(const PanelChunk* panel, const ActivationBlock** x,
                                              std::int64_t n_chunks, float (*sums)[kTileRows]) noexcept {
    std::memset(sums, 0, kN * sizeof sums[0]);
    for (std::int64_t c = 0; c < n_chunks; ++c, ++panel) {
        for (int u = 0; u < ActivationBlock::kValues / kUnit; ++u)
            add_unit_avx512<kUnit, kMinimums, kN>(*panel, u, x, sums);
        for (int j = 0; j < kN; ++j) {
            if constexpr (kMinimums == Minimums::of_8_groups || kMinimums == Minimums::of_16_groups)
                add_minimums_avx512<kMinimums>(*panel, *x[j], sums[j]);
            ++x[j];
        }
    }
}

// As many vectors at a time as there are registers for, and for what is left over less than that; vectors
// that are missing from such a group are made up by the last one.
template <int kUnit, Minimums kMinimums>
GR_AVX512 void dot_panel_avx512(const PanelChunk* panel, const ActivationBlock* const* x, int n_vectors,
                                std::int64_t n_values, float* out) noexcept {
    constexpr int kMost = 12;
    const std::int64_t n_chunks = activation_blocks(n_values);
    alignas(64) float sums[kMost][kTileRows];
    while (n_vectors > 0) {
        const int n = std::min(n_vectors, kMost);
        const ActivationBlock* vectors[kMost];
        for (int j = 0; j < kMost; ++j) vectors[j] = x[std::min(j, n - 1)];
        if (n > 8)
            dot_panel_of<kUnit, kMinimums, kMost>(panel, vectors, n_chunks, sums);
        else if (n > 4)
            dot_panel_of<kUnit, kMinimums, 8>(panel, vectors, n_chunks, sums);
        else
            dot_panel_of<kUnit, kMinimums, 4>(panel, vectors, n_chunks, sums);
        std::memcpy(out, sums, static_cast<std::size_t>(n) * sizeof sums[0]);
        out += n * kTileRows;
        x += n;
        n_vectors -= n;
    }
}

}  // namespace greenroom::cpu
