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
#include "cpu/dot_k_scales.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <array>
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

// What the minimums of four rows of super-blocks take from their sums.
template <class Format>
GR_AVX2_INLINE __m128 subtract_minimums_by_rows(__m128 sum, const typename Format::Block* const* blocks,
                                                const SumWords& words, __m128 x_scale) noexcept {
    __m128i lanes[kRowsAtOnce];
    GR_UNROLL
    for (int r = 0; r < kRowsAtOnce; ++r) lanes[r] = minimum_lanes(Format::minimums(blocks[r]), words);
    const __m128 factors =
        _mm_mul_ps(four_halves(Format::minimum_factor(blocks[0]), Format::minimum_factor(blocks[1]),
                               Format::minimum_factor(blocks[2]), Format::minimum_factor(blocks[3])),
                   x_scale);
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
GR_AVX2_INLINE void prefetch_chunk(const std::byte* bytes) noexcept {
    constexpr int kBytes = kBlocksPerChunk<Format> * static_cast<int>(sizeof(typename Format::Block));
    constexpr int kLine = 64;
    GR_UNROLL
    for (int at = 0; at < kBytes; at += kLine) __builtin_prefetch(bytes + at);
}

// Rows [0, n_rows) of a tile, four at a time: dot_four(rows, ahead, …) adds to the sums of four, the next
// ones of which are `ahead` bytes away; where there are fewer the last one stands in for the others.
template <class Format, class DotFour>
GR_AVX2_INLINE void dot_rows_by_fours(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                                      const ActivationBlock* x, std::int64_t n_values, float* out,
                                      const DotFour& dot_four) noexcept {
    alignas(64) float sums[kTileRows] = {};
    SplitActivations activations[kChunksAtOnce];
    const std::int64_t n_chunks = activation_blocks(n_values);
    for (std::int64_t first = 0; first < n_chunks; first += kChunksAtOnce) {
        const std::int64_t last = std::min(first + kChunksAtOnce, n_chunks);
        for (std::int64_t c = first; c < last; ++c) split<Format>(x[c], activations[c - first]);
        for (int r = 0; r < n_rows; r += kRowsAtOnce) {
            const std::byte* four[kRowsAtOnce];
            for (int i = 0; i < kRowsAtOnce; ++i) four[i] = rows + std::min(r + i, n_rows - 1) * row_bytes;
            dot_four(four, kRowsAtOnce * row_bytes, first, last, n_values, activations, sums + r);
        }
    }
    std::copy_n(sums, n_rows, out);
}

// ---- AVX-512 ----

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

    // d · x_scale of each row.
    GR_AVX512_INLINE __m128 factors(const Block* const* blocks, __m128 x_scale) const noexcept {
        if constexpr (Format::kGroup == 32)
            return _mm_mul_ps(of_headers<0>(), x_scale);
        else
            return _mm_mul_ps(four_halves(Format::factor(blocks[0]), Format::factor(blocks[1]),
                                          Format::factor(blocks[2]), Format::factor(blocks[3])),
                              x_scale);
    }

    // sum − dmin · x_scale · Σ minimum · sum of x for each row.
    GR_AVX512_INLINE __m128 subtract_minimums(__m128 sum, const Block* const* blocks, const SumWords& words,
                                              __m128 x_scale) const noexcept {
        if constexpr (Format::kGroup == 32) {
            const __m512i minimums = _mm512_unpackhi_epi8(numbers_, _mm512_setzero_si512());
            const __m512i high = _mm512_madd_epi16(minimums, repeat(words.high));
            __m512i all = _mm512_madd_epi16(minimums, repeat(words.low));
            all = _mm512_add_epi32(all, _mm512_slli_epi32(high, 8));
            all = _mm512_add_epi32(all, _mm512_shuffle_epi32(all, _MM_PERM_BADC));
            all = _mm512_add_epi32(all, _mm512_shuffle_epi32(all, _MM_PERM_CDAB));
            return _mm_fnmadd_ps(_mm_cvtepi32_ps(first_of_lanes(all)), _mm_mul_ps(of_headers<1>(), x_scale),
                                 sum);
        } else {
            return subtract_minimums_by_rows<Format>(sum, blocks, words, x_scale);
        }
    }

  private:
    GR_AVX512_INLINE static __m128i load(const Block* block) noexcept {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(block));
    }
    GR_AVX512_INLINE static __m512i repeat(const std::int16_t* words) noexcept {
        return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(words)));
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

// Those of one row, for unit_lanes_avx512().
template <class Format>
struct SpreadOf {
    const ScalesOfFour<Format>& scales;
    int row;

    GR_AVX512_INLINE __m512i operator()(std::size_t i) const noexcept { return scales.spread(row, i); }
};
struct NoScales {};

// The sums of the units of 256 values of a row, still to be added up: a vector of 16 lanes per unit, or per
// two units of 32. spread(i): the scales of its weights 64i … 64i + 63, one per word.
template <class Format, class Spread>
GR_AVX512_INLINE void unit_lanes_avx512(const typename Format::Block* block, const SplitActivations& x,
                                        const Spread& spread, __m512i* units) noexcept {
    __m512i w[4];
    Format::weights_avx512(block, w);
    if constexpr (kIntegerScales<Format>) {
        constexpr int kVectors = Format::kUnit / 64;
        GR_UNROLL
        for (int u = 0; u < 4 / kVectors; ++u) {
            __m512i high;
            __m512i low;
            GR_UNROLL
            for (int i = u * kVectors; i < (u + 1) * kVectors; ++i) {
                const __m512i scale = spread(static_cast<std::size_t>(i));
                __m512i p_high = _mm512_maddubs_epi16(w[i], _mm512_load_si512(x.high + 64 * i));
                __m512i p_low = _mm512_maddubs_epi16(w[i], _mm512_load_si512(x.low + 64 * i));
                if constexpr (Format::kOffset != 0) {
                    p_high = _mm512_sub_epi16(p_high, _mm512_load_si512(x.high_offsets + 32 * i));
                    p_low = _mm512_sub_epi16(p_low, _mm512_load_si512(x.low_offsets + 32 * i));
                }
                if (i == u * kVectors) {
                    high = _mm512_madd_epi16(p_high, scale);
                    low = _mm512_madd_epi16(p_low, scale);
                } else {
                    add_products_avx512(high, p_high, scale);
                    add_products_avx512(low, p_low, scale);
                }
            }
            units[u] = _mm512_add_epi32(_mm512_slli_epi32(high, 7), low);
        }
    } else {
        GR_UNROLL
        for (int i = 0; i < 4; ++i) {
            __m512i sum = _mm512_setzero_si512();
            add_byte_products_avx512(sum, w[i], _mm512_load_si512(x.high + 64 * i));
            sum = _mm512_slli_epi32(sum, 7);
            add_byte_products_avx512(sum, w[i], _mm512_load_si512(x.low + 64 * i));
            units[i] = sum;
        }
    }
}

// What 256 values of four rows of super-blocks add to their sums.
template <class Format>
GR_AVX512_INLINE __m128 add_super_blocks_avx512(__m128 sum, const typename Format::Block* const* blocks,
                                                const SplitActivations& x) noexcept {
    constexpr int kUnits = kUnitsPerChunk<Format>;
    const ScalesOfFour<Format> scales(blocks);
    __m512i lanes[kUnits][kRowsAtOnce];
    for (int r = 0; r < kRowsAtOnce; ++r) {
        __m512i of_row[kUnits];
        unit_lanes_avx512<Format>(blocks[r], x, SpreadOf<Format>{scales, r}, of_row);
        GR_UNROLL
        for (int u = 0; u < kUnits; ++u) lanes[u][r] = of_row[u];
    }
    const __m128 x_scale = _mm_set1_ps(x.scale);
    const __m128 factors = scales.factors(blocks, x_scale);
    GR_UNROLL
    for (int u = 0; u < kUnits; ++u)
        sum = _mm_fmadd_ps(_mm_cvtepi32_ps(sum_lanes_of_four_avx512(lanes[u])), factors, sum);
    if constexpr (Format::kHasMin) sum = scales.subtract_minimums(sum, blocks, x.words, x_scale);
    return sum;
}

// The same of blocks of 32 with float scales.
template <class Format>
GR_AVX512_INLINE __m128 add_blocks_avx512(__m128 sum, const typename Format::Block* const* blocks,
                                          const SplitActivations& x) noexcept {
    constexpr int kVectors = 4;
    __m512i lanes[kVectors][kRowsAtOnce];
    for (int r = 0; r < kRowsAtOnce; ++r) {
        __m512i of_row[kVectors];
        unit_lanes_avx512<Format>(blocks[r], x, NoScales{}, of_row);
        GR_UNROLL
        for (int u = 0; u < kVectors; ++u) lanes[u][r] = of_row[u];
    }
    __m128i units[kUnitsPerChunk<Format>];
    GR_UNROLL
    for (int u = 0; u < kVectors; u += 2) {
        __m512i four = add_lane_pairs_avx512(sum_quads_avx512(lanes[u]), sum_quads_avx512(lanes[u + 1]));
        if constexpr (Format::kOffset != 0)
            four = _mm512_sub_epi32(four, offsets_avx512(x.sums + 2 * u, Format::kOffset));
        units[2 * u] = _mm512_castsi512_si128(four);
        units[2 * u + 1] = _mm512_extracti32x4_epi32(four, 1);
        units[2 * u + 2] = _mm512_extracti32x4_epi32(four, 2);
        units[2 * u + 3] = _mm512_extracti32x4_epi32(four, 3);
    }
    return add_units<Format>(sum, units, blocks, x);
}

template <class Format>
GR_AVX512_INLINE __m128 add_chunk_avx512(__m128 sum, const typename Format::Block* const* blocks,
                                         const SplitActivations& x) noexcept {
    if constexpr (kIntegerScales<Format>)
        return add_super_blocks_avx512<Format>(sum, blocks, x);
    else
        return add_blocks_avx512<Format>(sum, blocks, x);
}

template <class Format>
GR_AVX512 void dot_four_rows_avx512(const std::byte* const* rows, std::int64_t ahead, std::int64_t first,
                                    std::int64_t last, std::int64_t n_values, const SplitActivations* x,
                                    float* sums) noexcept {
    using Block = typename Format::Block;
    const Block* blocks[kRowsAtOnce];
    for (int r = 0; r < kRowsAtOnce; ++r)
        blocks[r] = reinterpret_cast<const Block*>(rows[r]) + first * kBlocksPerChunk<Format>;
    __m128 sum = _mm_load_ps(sums);
    const std::int64_t n_whole = std::min(last, n_values / ActivationBlock::kValues);
    for (std::int64_t c = first; c < n_whole; ++c, ++x) {
        GR_UNROLL
        for (int r = 0; r < kRowsAtOnce; ++r)
            prefetch_chunk<Format>(reinterpret_cast<const std::byte*>(blocks[r]) + ahead);
        sum = add_chunk_avx512<Format>(sum, blocks, *x);
        GR_UNROLL
        for (int r = 0; r < kRowsAtOnce; ++r) blocks[r] += kBlocksPerChunk<Format>;
    }
    if constexpr (kBlocksPerChunk < Format >> 1) {
        if (n_whole < last) {
            Block copies[kRowsAtOnce][kBlocksPerChunk<Format>];
            for (int r = 0; r < kRowsAtOnce; ++r)
                blocks[r] = chunk_blocks<Format>(rows[r], n_whole, n_values, copies[r]);
            sum = add_chunk_avx512<Format>(sum, blocks, *x);
        }
    }
    _mm_store_ps(sums, sum);
}

template <class Format>
GR_AVX512 void dot_rows_avx512(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                               const ActivationBlock* x, std::int64_t n_values, float* out) noexcept {
    dot_rows_by_fours<Format>(rows, row_bytes, n_rows, x, n_values, out, dot_four_rows_avx512<Format>);
}

// ---- AVX2 ----

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

// Sums of two neighbouring products each; those with integer scales without the weights' offset.
template <class Format>
GR_AVX2_INLINE __m256i byte_products_avx2(__m256i w, const std::int8_t* plane,
                                          const std::int16_t* offsets) noexcept {
    const __m256i products =
        _mm256_maddubs_epi16(w, _mm256_load_si256(reinterpret_cast<const __m256i*>(plane)));
    if constexpr (kIntegerScales<Format> && Format::kOffset != 0)
        return _mm256_sub_epi16(products, _mm256_load_si256(reinterpret_cast<const __m256i*>(offsets)));
    else
        return products;
}

// The sums of the units of 256 values of a row, as unit_lanes_avx512(): a vector of 8 lanes per unit.
template <class Format>
GR_AVX2_INLINE void unit_lanes_avx2(const typename Format::Block* block, const SplitActivations& x,
                                    __m256i* units) noexcept {
    __m256i w[8];
    Format::weights_avx2(block, w);
    if constexpr (kIntegerScales<Format>) {
        const auto scales = Format::scales(block);
        constexpr int kVectors = Format::kUnit / 32;
        GR_UNROLL
        for (int u = 0; u < 8 / kVectors; ++u) {
            __m256i high = _mm256_setzero_si256();
            __m256i low = _mm256_setzero_si256();
            GR_UNROLL
            for (int i = u * kVectors; i < (u + 1) * kVectors; ++i) {
                const __m256i scale = spread_scales_avx2(scales, i);
                high = _mm256_add_epi32(
                    high,
                    _mm256_madd_epi16(
                        byte_products_avx2<Format>(w[i], x.high + 32 * i, x.high_offsets + 16 * i), scale));
                low = _mm256_add_epi32(
                    low,
                    _mm256_madd_epi16(
                        byte_products_avx2<Format>(w[i], x.low + 32 * i, x.low_offsets + 16 * i), scale));
            }
            units[u] = _mm256_add_epi32(_mm256_slli_epi32(high, 7), low);
        }
    } else {
        const __m256i ones = _mm256_set1_epi16(1);
        GR_UNROLL
        for (int i = 0; i < 8; ++i)
            units[i] = _mm256_add_epi32(
                _mm256_slli_epi32(
                    _mm256_madd_epi16(
                        byte_products_avx2<Format>(w[i], x.high + 32 * i, x.high_offsets + 16 * i), ones),
                    7),
                _mm256_madd_epi16(byte_products_avx2<Format>(w[i], x.low + 32 * i, x.low_offsets + 16 * i),
                                  ones));
    }
}

// What 256 values of four rows add to their sums.
template <class Format>
GR_AVX2_INLINE __m128 add_chunk_avx2(__m128 sum, const typename Format::Block* const* blocks,
                                     const SplitActivations& x) noexcept {
    constexpr int kUnits = kUnitsPerChunk<Format>;
    __m256i lanes[kUnits][kRowsAtOnce];
    for (int r = 0; r < kRowsAtOnce; ++r) {
        __m256i of_row[kUnits];
        unit_lanes_avx2<Format>(blocks[r], x, of_row);
        GR_UNROLL
        for (int u = 0; u < kUnits; ++u) lanes[u][r] = of_row[u];
    }
    __m128i units[kUnits];
    GR_UNROLL
    for (int u = 0; u < kUnits; ++u) units[u] = sum_lanes_of_four_avx2(lanes[u]);
    if constexpr (kIntegerScales<Format>) {
        const __m128 x_scale = _mm_set1_ps(x.scale);
        const __m128 factors = _mm_mul_ps(four_halves(Format::factor(blocks[0]), Format::factor(blocks[1]),
                                                      Format::factor(blocks[2]), Format::factor(blocks[3])),
                                          x_scale);
        GR_UNROLL
        for (int u = 0; u < kUnits; ++u) sum = _mm_fmadd_ps(_mm_cvtepi32_ps(units[u]), factors, sum);
        if constexpr (Format::kHasMin) sum = subtract_minimums_by_rows<Format>(sum, blocks, x.words, x_scale);
        return sum;
    } else {
        GR_UNROLL
        for (int u = 0; u < kUnits; ++u)
            units[u] = _mm_sub_epi32(units[u], _mm_set1_epi32(Format::kOffset * x.sums[u]));
        return add_units<Format>(sum, units, blocks, x);
    }
}

template <class Format>
GR_AVX2 void dot_four_rows_avx2(const std::byte* const* rows, std::int64_t ahead, std::int64_t first,
                                std::int64_t last, std::int64_t n_values, const SplitActivations* x,
                                float* sums) noexcept {
    using Block = typename Format::Block;
    const Block* blocks[kRowsAtOnce];
    for (int r = 0; r < kRowsAtOnce; ++r)
        blocks[r] = reinterpret_cast<const Block*>(rows[r]) + first * kBlocksPerChunk<Format>;
    __m128 sum = _mm_load_ps(sums);
    const std::int64_t n_whole = std::min(last, n_values / ActivationBlock::kValues);
    for (std::int64_t c = first; c < n_whole; ++c, ++x) {
        GR_UNROLL
        for (int r = 0; r < kRowsAtOnce; ++r)
            prefetch_chunk<Format>(reinterpret_cast<const std::byte*>(blocks[r]) + ahead);
        sum = add_chunk_avx2<Format>(sum, blocks, *x);
        GR_UNROLL
        for (int r = 0; r < kRowsAtOnce; ++r) blocks[r] += kBlocksPerChunk<Format>;
    }
    if constexpr (kBlocksPerChunk < Format >> 1) {
        if (n_whole < last) {
            Block copies[kRowsAtOnce][kBlocksPerChunk<Format>];
            for (int r = 0; r < kRowsAtOnce; ++r)
                blocks[r] = chunk_blocks<Format>(rows[r], n_whole, n_values, copies[r]);
            sum = add_chunk_avx2<Format>(sum, blocks, *x);
        }
    }
    _mm_store_ps(sums, sum);
}

template <class Format>
GR_AVX2 void dot_rows_avx2(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                           const ActivationBlock* x, std::int64_t n_values, float* out) noexcept {
    dot_rows_by_fours<Format>(rows, row_bytes, n_rows, x, n_values, out, dot_four_rows_avx2<Format>);
}

}  // namespace greenroom::cpu
