#pragma once

// The frame of the kernels that take rows as they stand in memory, one vector (dot_quant.h):
// QuantDot::dot_rows.
//
// The vector's 14 bits are split into two planes of bytes, q = 128 · high + low, so that bytes of weights can
// be multiplied with them: pairs of products stay below 2 · 255 · 64 in magnitude, which 16 bits hold. They
// are multiplied by the scale of their group and added up in lanes of 32 bits. What the lanes add up to is
// found for four rows together, which leaves a row a lane; so do the float operations. Integer sums may wrap
// around on the way, as long as the last one fits.

#include "cpu/dot_format.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <cstdint>

namespace greenroom::cpu {

inline constexpr int kRowsAtOnce = 4;

// Σq of groups that share a minimum, in words: sum = 256 · high + low.
struct alignas(32) SumWords {
    std::int16_t high[ActivationBlock::kGroups];
    std::int16_t low[ActivationBlock::kGroups];
};

// 256 activations, made ready for all rows of a tile.
struct alignas(64) SplitActivations {
    std::int8_t high[ActivationBlock::kValues];  // q = 128 · high + low, |high| and |low| <= 64
    std::int8_t low[ActivationBlock::kValues];
    std::int16_t
        high_offsets[ActivationBlock::kValues / 2];  // what the weights' offset adds to pairs of products
    std::int16_t low_offsets[ActivationBlock::kValues / 2];
    SumWords words;        // where the minimums are integers
    std::int32_t sums[8];  // Σq of 32 each, where scales are floats
    float scale;
};

// Those of so many chunks stay in the first-level cache while the rows go by.
inline constexpr std::int64_t kChunksAtOnce = 32;

inline void sums_of_32(const ActivationBlock& x, std::int32_t* sums) noexcept {
    for (int g = 0; g < PanelChunk::kUnits; ++g) sums[g] = x.sums[2 * g] + x.sums[2 * g + 1];
}

// In the words 0 … 7 for groups of 32.
template <int kGroup>
void split_sums(const ActivationBlock& x, SumWords& words) noexcept {
    for (int g = 0; g < ActivationBlock::kValues / kGroup; ++g) {
        const std::int32_t sum = kGroup == 16 ? x.sums[g] : x.sums[2 * g] + x.sums[2 * g + 1];
        words.high[g] = static_cast<std::int16_t>(sum >> 8);
        words.low[g] = static_cast<std::int16_t>(sum & 255);
    }
}

// 16 activations and what the weights' offset adds to their pairs.
template <class Format>
GR_AVX2_INLINE void split_16(const std::int16_t* q, std::int8_t* high, std::int8_t* low,
                             std::int16_t* high_offsets, std::int16_t* low_offsets) noexcept {
    const __m256i words = _mm256_load_si256(reinterpret_cast<const __m256i*>(q));
    const __m256i high_words = _mm256_srai_epi16(_mm256_add_epi16(words, _mm256_set1_epi16(64)), 7);
    const __m256i low_words = _mm256_sub_epi16(words, _mm256_slli_epi16(high_words, 7));
    // Packing works within halves of 128 bits: the high ones' bytes 0 – 7, the low ones', and once more.
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(high_words, low_words), 0xd8);
    _mm_store_si128(reinterpret_cast<__m128i*>(high), _mm256_castsi256_si128(bytes));
    _mm_store_si128(reinterpret_cast<__m128i*>(low), _mm256_extracti128_si256(bytes, 1));
    if constexpr (kIntegerScales<Format> && Format::kOffset != 0) {
        const __m256i offset = _mm256_set1_epi8(Format::kOffset);
        const __m256i of_bytes = _mm256_maddubs_epi16(offset, bytes);
        _mm_store_si128(reinterpret_cast<__m128i*>(high_offsets), _mm256_castsi256_si128(of_bytes));
        _mm_store_si128(reinterpret_cast<__m128i*>(low_offsets), _mm256_extracti128_si256(of_bytes, 1));
    }
}

template <class Format>
GR_AVX2_INLINE void split(const ActivationBlock& x, SplitActivations& out) noexcept {
    for (int i = 0; i < ActivationBlock::kValues; i += 16)
        split_16<Format>(x.q + i, out.high + i, out.low + i, out.high_offsets + i / 2,
                         out.low_offsets + i / 2);
    if constexpr (!kIntegerScales<Format>)
        sums_of_32(x, out.sums);
    else if constexpr (Format::kHasMin)
        split_sums<Format::kGroup>(x, out.words);
    out.scale = x.scale;
}

// Σ minimum · sum, in four lanes.
GR_AVX2_INLINE __m128i minimum_lanes(__m128i minimums, const SumWords& sums) noexcept {
    const __m128i high =
        _mm_madd_epi16(minimums, _mm_load_si128(reinterpret_cast<const __m128i*>(sums.high)));
    const __m128i low = _mm_madd_epi16(minimums, _mm_load_si128(reinterpret_cast<const __m128i*>(sums.low)));
    return _mm_add_epi32(_mm_slli_epi32(high, 8), low);
}
GR_AVX2_INLINE __m128i minimum_lanes(__m256i minimums, const SumWords& sums) noexcept {
    const __m256i high =
        _mm256_madd_epi16(minimums, _mm256_load_si256(reinterpret_cast<const __m256i*>(sums.high)));
    const __m256i low =
        _mm256_madd_epi16(minimums, _mm256_load_si256(reinterpret_cast<const __m256i*>(sums.low)));
    const __m256i both = _mm256_add_epi32(_mm256_slli_epi32(high, 8), low);
    return _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
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

// What the minimums of four rows of super-blocks take from their sums.
template <class Format>
GR_AVX2_INLINE __m128 subtract_minimums_by_rows(__m128 sum, const typename Format::Block* const* blocks,
                                                const SumWords& words, __m128 x_scale) noexcept {
    __m128i lanes[kRowsAtOnce];
    GR_UNROLL
    for (int r = 0; r < kRowsAtOnce; ++r) lanes[r] = minimum_lanes(Format::minimums(blocks[r]), words);
    const __m128 factors = _mm_mul_ps(minimum_factors_of_four<Format>(blocks), x_scale);
    return _mm_fnmadd_ps(_mm_cvtepi32_ps(sum_lanes_of_four(lanes)), factors, sum);
}

// What 256 values of four rows, blocks of 32, add to their sums; units: Σ of each, a row per lane.
template <class Format>
GR_AVX2_INLINE __m128 add_units(__m128 sum, const __m128i* units, const typename Format::Block* const* blocks,
                                const SplitActivations& x) noexcept {
    const __m128 x_scale = _mm_set1_ps(x.scale);
    __m256 scales[kRowsAtOnce];
    [[maybe_unused]] __m256 minimums[kRowsAtOnce];
    GR_UNROLL
    for (int r = 0; r < kRowsAtOnce; ++r) {
        scales[r] = Format::scales(blocks[r]);
        if constexpr (Format::kHasMin) minimums[r] = Format::minimums(blocks[r]);
    }
    transpose_quads(scales);
    if constexpr (Format::kHasMin) transpose_quads(minimums);
    GR_UNROLL
    for (int u = 0; u < PanelChunk::kUnits; ++u) {
        sum =
            _mm_fmadd_ps(_mm_cvtepi32_ps(units[u]), _mm_mul_ps(half_of(scales[u % 4], u / 4), x_scale), sum);
        if constexpr (Format::kHasMin)
            sum = _mm_fmadd_ps(_mm_cvtepi32_ps(_mm_set1_epi32(x.sums[u])),
                               _mm_mul_ps(half_of(minimums[u % 4], u / 4), x_scale), sum);
    }
    return sum;
}

// Brings 256 values to the cache. Rows are a few kilobytes long and four are read at once, too many streams
// in too little memory for the processor to see them by itself. Beyond the end nothing happens.
template <class Format>
GR_AVX2_INLINE void prefetch_chunk(const typename Format::Block* block, std::int64_t ahead) noexcept {
    const std::byte* bytes = reinterpret_cast<const std::byte*>(block) + ahead;
    constexpr int kBytes = kBlocksPerChunk<Format> * static_cast<int>(sizeof(typename Format::Block));
    constexpr int kLine = 64;
    GR_UNROLL
    for (int at = 0; at < kBytes; at += kLine) __builtin_prefetch(bytes + at);
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
    SplitActivations activations[kChunksAtOnce];
    const std::int64_t n_chunks = activation_blocks(n_values);
    for (std::int64_t first = 0; first < n_chunks; first += kChunksAtOnce) {
        const std::int64_t n = std::min(kChunksAtOnce, n_chunks - first);
        const std::int64_t n_whole = std::min(n, n_values / ActivationBlock::kValues - first);
        for (std::int64_t c = 0; c < n; ++c) split<Format>(x[first + c], activations[c]);
        for (int r = 0; r < n_rows; r += kRowsAtOnce) {
            const std::byte* four[kRowsAtOnce];
            const Block* blocks[kRowsAtOnce];
            for (int i = 0; i < kRowsAtOnce; ++i) {
                four[i] = rows + std::min(r + i, n_rows - 1) * row_bytes;
                blocks[i] = reinterpret_cast<const Block*>(four[i]) + first * kBlocksPerChunk<Format>;
            }
            add_chunks(blocks, kRowsAtOnce * row_bytes, n_whole, activations, sums + r);
            if constexpr (kBlocksPerChunk<Format> != 1) {
                if (n_whole == n) continue;
                Block copies[kRowsAtOnce][kBlocksPerChunk<Format>];
                for (int i = 0; i < kRowsAtOnce; ++i)
                    blocks[i] = chunk_blocks<Format>(four[i], first + n_whole, n_values, copies[i]);
                add_chunks(blocks, 0, 1, activations + n_whole, sums + r);
            }
        }
    }
    std::copy_n(sums, n_rows, out);
}

}  // namespace greenroom::cpu
