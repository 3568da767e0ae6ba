#pragma once

// The frame of the kernels for many vectors (dot_quant.h): the rows of a tile, laid out as a panel in which
// each row has lanes of its own. Sums over the values of a row then need no shuffles, and weights are
// unpacked and multiplied by their integer scales once for all vectors.
//
// Per unit of weights, two times 16 rows and a dozen vectors there are 24 sums in registers; two values of
// all rows are read, two of each vector broadcast to all lanes, and multiplied: one instruction for 32
// products.

#include "cpu/dot_format.h"
#include "cpu/dot_rows_simd.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

// What a format has of minimums, which together with its unit is all that the products with a panel know.
enum class Minimums { none, floats, of_8_groups, of_16_groups };

template <class Format>
constexpr Minimums minimums_of() noexcept {
    if constexpr (!Format::kHasMin)
        return Minimums::none;
    else if constexpr (!kIntegerScales<Format>)
        return Minimums::floats;
    else
        return Format::kGroup == 32 ? Minimums::of_8_groups : Minimums::of_16_groups;
}

GR_AVX2_INLINE void store_words(std::int16_t* words, __m128i numbers) noexcept {
    _mm_store_si128(reinterpret_cast<__m128i*>(words), numbers);
}
GR_AVX2_INLINE void store_words(std::int16_t* words, __m256i numbers) noexcept {
    _mm256_store_si256(reinterpret_cast<__m256i*>(words), numbers);
}

// The blocks of 256 values of the rows from `first` on, those that are not there as zeros. `last`: room for a
// chunk of every row, see chunk_blocks().
template <class Format, int kRows>
void find_blocks(const std::byte* rows, std::int64_t row_bytes, int n_rows, int first, std::int64_t chunk,
                 std::int64_t n_values, typename Format::Block (*last)[kBlocksPerChunk<Format>],
                 const typename Format::Block** blocks) noexcept {
    for (int r = 0; r < kRows; ++r) {
        if (first + r < n_rows) {
            blocks[r] = chunk_blocks<Format>(rows + (first + r) * row_bytes, chunk, n_values, last[r]);
        } else {
            std::memset(static_cast<void*>(last[r]), 0, sizeof last[r]);
            blocks[r] = last[r];
        }
    }
}

// ---- AVX-512: laying out ----

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
    alignas(64) std::int16_t scales[kRows][ActivationBlock::kGroups] = {};
    alignas(64) std::int16_t minimums[kRows][ActivationBlock::kGroups] = {};
    alignas(64) std::uint16_t factors[2][kRows] = {};
    [[maybe_unused]] __m256 block_scales[2][kRows];
    // The second and third of four bytes change places: then their even bytes are the first two.
    const __m512i order =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
    for (int r = 0; r < kRows; ++r) {
        __m512i parts[4];
        Format::weights_avx512(blocks[r], parts);
        GR_UNROLL
        for (int p = 0; p < 4; ++p) weights[p][r] = _mm512_shuffle_epi8(parts[p], order);
        if constexpr (kIntegerScales<Format>) {
            store_words(scales[r], Format::scales(blocks[r]));
            factors[0][r] = Format::factor(blocks[r]);
            if constexpr (Format::kHasMin) {
                store_words(minimums[r], Format::minimums(blocks[r]));
                factors[1][r] = Format::minimum_factor(blocks[r]);
            }
        } else {
            block_scales[0][r] = Format::scales(blocks[r]);
            if constexpr (Format::kHasMin) block_scales[1][r] = Format::minimums(blocks[r]);
        }
    }
    [[maybe_unused]] __m512i of_group[kRows];
    if constexpr (kIntegerScales<Format>) spread_words_avx512(scales, of_group);
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
        _mm512_store_ps(chunk.scales[0] + first, halves_avx512(factors[0]));
        if constexpr (Format::kHasMin) {
            const __m512 minus_zero = _mm512_set1_ps(-0.0F);
            _mm512_store_ps(chunk.minimums[0] + first, _mm512_xor_ps(halves_avx512(factors[1]), minus_zero));
            __m512i pairs[kRows];
            GR_UNROLL
            for (int r = 0; r < kRows; ++r)
                pairs[r] =
                    _mm512_castsi256_si512(_mm256_load_si256(reinterpret_cast<const __m256i*>(minimums[r])));
            transpose_avx512(pairs);
            GR_UNROLL
            for (int g = 0; g < ActivationBlock::kGroups / 2; ++g)
                _mm512_store_si512(chunk.integer_minimums[g][first], pairs[g]);
        }
    } else {
        __m512 of_block[PanelChunk::kUnits];
        transpose_16x8_avx512(block_scales[0], of_block);
        GR_UNROLL
        for (int u = 0; u < PanelChunk::kUnits; ++u) _mm512_store_ps(chunk.scales[u] + first, of_block[u]);
        if constexpr (Format::kHasMin) {
            transpose_16x8_avx512(block_scales[1], of_block);
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

// ---- AVX-512: multiplying ----

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

// Two words of a vector, for all rows.
GR_AVX512_INLINE __m512i broadcast_pair(const std::int16_t* q) noexcept {
    std::int32_t pair = 0;
    std::memcpy(&pair, q, sizeof pair);
    return _mm512_set1_epi32(pair);
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
                            broadcast_pair(sums.high + 2 * g));
    sum = _mm512_slli_epi32(sum, 8);
    GR_UNROLL
    for (int g = 0; g < kPairs; ++g)
        add_products_avx512(sum, _mm512_load_si512(chunk.integer_minimums[g][first]),
                            broadcast_pair(sums.low + 2 * g));
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

// sums[j][r] += what kUnit weights of a chunk from `at` on add for vector j: one scale for all of them.
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
            const __m512i pair = broadcast_pair(q[j] + 2 * i);
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

// ---- AVX2: laying out ----

// 256 values of 8 rows to the lanes from `first` on.
template <class Format>
GR_AVX2_INLINE void pack_8_rows_avx2(const typename Format::Block* const* blocks, int first,
                                     PanelChunk& chunk) noexcept {
    constexpr int kRows = 8;
    // Words, rows as they are.
    alignas(64) std::int16_t rows[kRows][ActivationBlock::kValues];
    alignas(64) std::int16_t minimums[kRows][ActivationBlock::kGroups] = {};
    alignas(32) std::uint16_t factors[2][kRows] = {};
    [[maybe_unused]] __m256 block_scales[2][kRows];
    for (int r = 0; r < kRows; ++r) {
        __m256i w[8];
        Format::weights_avx2(blocks[r], w);
        alignas(32) std::int16_t scales[ActivationBlock::kGroups] = {};
        if constexpr (kIntegerScales<Format>) {
            store_words(scales, Format::scales(blocks[r]));
            factors[0][r] = Format::factor(blocks[r]);
            if constexpr (Format::kHasMin) {
                store_words(minimums[r], Format::minimums(blocks[r]));
                factors[1][r] = Format::minimum_factor(blocks[r]);
            }
        } else {
            block_scales[0][r] = Format::scales(blocks[r]);
            if constexpr (Format::kHasMin) block_scales[1][r] = Format::minimums(blocks[r]);
        }
        for (int i = 0; i < 8; ++i)
            for (int half = 0; half < 2; ++half) {
                __m256i words = _mm256_cvtepu8_epi16(half == 0 ? _mm256_castsi256_si128(w[i])
                                                               : _mm256_extracti128_si256(w[i], 1));
                words = _mm256_sub_epi16(words, _mm256_set1_epi16(Format::kOffset));
                const int at = 32 * i + 16 * half;
                if constexpr (kIntegerScales<Format>)
                    words = _mm256_mullo_epi16(words, _mm256_set1_epi16(scales[at / Format::kGroup]));
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
        _mm256_store_ps(chunk.scales[0] + first, halves_avx2(factors[0]));
        if constexpr (Format::kHasMin) {
            _mm256_store_ps(chunk.minimums[0] + first,
                            _mm256_xor_ps(halves_avx2(factors[1]), _mm256_set1_ps(-0.0F)));
            __m256i pairs[kRows];
            GR_UNROLL
            for (int r = 0; r < kRows; ++r)
                pairs[r] = _mm256_load_si256(reinterpret_cast<const __m256i*>(minimums[r]));
            transpose_avx2(pairs);
            GR_UNROLL
            for (int g = 0; g < 8; ++g)
                _mm256_store_si256(reinterpret_cast<__m256i*>(chunk.integer_minimums[g][first]), pairs[g]);
        }
    } else {
        transpose_avx2(block_scales[0]);
        for (int u = 0; u < PanelChunk::kUnits; ++u)
            _mm256_store_ps(chunk.scales[u] + first, block_scales[0][u]);
        if constexpr (Format::kHasMin) {
            transpose_avx2(block_scales[1]);
            for (int u = 0; u < PanelChunk::kUnits; ++u)
                _mm256_store_ps(chunk.minimums[u] + first, block_scales[1][u]);
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

// ---- AVX2: multiplying ----

GR_AVX2_INLINE __m256i broadcast_pair_avx2(const std::int16_t* q) noexcept {
    std::int32_t pair = 0;
    std::memcpy(&pair, q, sizeof pair);
    return _mm256_set1_epi32(pair);
}

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
                    const __m256i pair = broadcast_pair_avx2(q[j] + 2 * i);
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
                            high, _mm256_madd_epi16(pairs, broadcast_pair_avx2(words.high + 2 * g)));
                        low = _mm256_add_epi32(
                            low, _mm256_madd_epi16(pairs, broadcast_pair_avx2(words.low + 2 * g)));
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
