#pragma once

// The frame of the kernels that take rows as they stand in memory, one vector (dot_quant.h):
// QuantDot::dot_rows.
//
// Bytes of weights are multiplied with a plane of bytes; with integer scales pairs of products, which stay
// within 16 bits, by the scale of their group, added up in lanes of 32 bits. What the lanes add up to is
// found for four chunks of 256 values together, which leaves a chunk a lane; so do most float operations.
//
// The four are neighbours in a row, or one of each of four rows (Format::kAlongRow). Along rows memory is
// read from beginning to end, which is what processors fetch ahead by themselves: on Zen 5, where reading
// alone gives 42 GB/s, Q6_K makes 37 instead of 30. Across rows it takes fewer instructions to add up what
// they give, of which Q4_K, with minimums, has more: 39 instead of 33, with both planes 32 instead of 24.

#include "cpu/dot_format.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace greenroom::cpu {

inline constexpr int kFour = 4;

constexpr int n_planes(Planes planes) noexcept { return planes == Planes::both ? 2 : 1; }

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

// M of four chunks.
template <class Format>
GR_AVX2_INLINE __m128i minimum_sums_of_four(const typename Format::Block* const* blocks,
                                            const ActivationBlock* const* x, int plane) noexcept {
    __m128i lanes[kFour];
    GR_UNROLL
    for (int i = 0; i < kFour; ++i)
        lanes[i] = four_lanes(dot_sums(Format::minimums(blocks[i]), group_sums<Format>(*x[i], plane)));
    return sum_lanes_of_four(lanes);
}

// Eight sums of 32 activations of each of four chunks, turned around: half h of out[k] has sum 4h + k of
// each.
GR_AVX2_INLINE void wide_sums_of_four(const std::int16_t* const* sums, __m256i* out) noexcept {
    __m256 v[kFour];
    GR_UNROLL
    for (int i = 0; i < kFour; ++i)
        v[i] = _mm256_castsi256_ps(
            _mm256_cvtepi16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(sums[i]))));
    transpose_quads(v);
    GR_UNROLL
    for (int i = 0; i < kFour; ++i) out[i] = _mm256_castps_si256(v[i]);
}

// Numbers of the eight blocks of each of four chunks, a chunk per lane.
struct BlockNumbersOfFour {
    __m256 numbers[kFour];

    // of_chunks: those of each chunk, one per block.
    GR_AVX2_INLINE void set(const __m256* of_chunks) noexcept {
        GR_UNROLL
        for (int i = 0; i < kFour; ++i) numbers[i] = of_chunks[i];
        transpose_quads(numbers);
    }
    GR_AVX2_INLINE __m128 of_block(int u) const noexcept { return half_of(numbers[u % 4], u / 4); }
};

// What four chunks of blocks with float scales add up to per block, and the scales and minimums of the
// blocks.
template <class Format, int kPlanes>
struct BlockSums {
    __m128 sums[kPlanes][kUnits];  // T_u of each chunk
    BlockNumbersOfFour scales;
    BlockNumbersOfFour minimums;

    // c of each chunk. wide_sums: eight S_u of each.
    GR_AVX2_INLINE __m128 add_up(int plane, const std::int16_t* const* wide_sums) const noexcept {
        __m128 c = _mm_setzero_ps();
        GR_UNROLL
        for (int u = 0; u < kUnits; ++u) c = _mm_fmadd_ps(sums[plane][u], scales.of_block(u), c);
        if constexpr (Format::kHasMin) {
            __m256i turned[kFour];
            wide_sums_of_four(wide_sums, turned);
            __m256 floats[kFour];
            GR_UNROLL
            for (int k = 0; k < kFour; ++k) floats[k] = _mm256_cvtepi32_ps(turned[k]);
            GR_UNROLL
            for (int u = 0; u < kUnits; ++u)
                c = _mm_fmadd_ps(half_of(floats[u % 4], u / 4), minimums.of_block(u), c);
        }
        return c;
    }
};

// What four chunks add to the sums of their rows: for each plane number · factor, and minus that of the
// minimums where they are integers.
template <class Format, int kPlanes>
struct FourTerms {
    static constexpr int kPerPlane = Format::kHasMin && !Format::kFloatScales ? 2 : 1;
    static constexpr int kTerms = kPlanes * kPerPlane;

    __m128 numbers[kTerms];
    __m128 factors[kTerms];

    // Of four rows, to their sums.
    GR_AVX2_INLINE __m128 add_to_rows(__m128 sums) const noexcept {
        GR_UNROLL
        for (int t = 0; t < kTerms; ++t) sums = add(t, numbers[t], factors[t], sums);
        return sums;
    }

    // Of one row, the first n in their order, to its sum, which is in all lanes.
    GR_AVX2_INLINE __m128 add_to_row(__m128 sum, std::int64_t n) const noexcept {
        sum = add_chunk<0>(sum);
        if (n > 1) sum = add_chunk<1>(sum);
        if (n > 2) sum = add_chunk<2>(sum);
        if (n > 3) sum = add_chunk<3>(sum);
        return sum;
    }

  private:
    GR_AVX2_INLINE static __m128 add(int term, __m128 number, __m128 factor, __m128 sum) noexcept {
        return term % kPerPlane == 0 ? _mm_fmadd_ps(number, factor, sum) : _mm_fnmadd_ps(number, factor, sum);
    }
    template <int kChunk>
    GR_AVX2_INLINE __m128 add_chunk(__m128 sum) const noexcept {
        GR_UNROLL
        for (int t = 0; t < kTerms; ++t)
            sum = add(t, _mm_permute_ps(numbers[t], kChunk * 0x55), _mm_permute_ps(factors[t], kChunk * 0x55),
                      sum);
        return sum;
    }
};

// How far ahead rows are fetched, along them and across. (Along rows 16 KiB: Q6_K 33 instead of 38 GB/s;
// across them 8 KiB: Q4_K 36 instead of 41.)
inline constexpr std::int64_t kAheadAlong = 8192;
inline constexpr std::int64_t kAheadAcross = 16384;

// Brings part i of four of n_bytes to the second-level cache. Rows are a few kilobytes long, too little for
// the processor to see them by itself. Beyond the end nothing happens. Always inlined: g++ 12 takes a
// function that only prefetches for one without effect.
[[gnu::always_inline]] inline void fetch_part(const std::byte* bytes, std::int64_t n_bytes, int i) noexcept {
    constexpr std::int64_t kLine = 64;
    const std::int64_t n_lines = (n_bytes + kLine - 1) / kLine;
    GR_UNROLL
    for (std::int64_t line = i * n_lines / kFour; line < (i + 1) * n_lines / kFour; ++line)
        __builtin_prefetch(bytes + line * kLine, 0, 2);
}

// Four chunks with the activations that each meets, X as the format meets them.
template <class Format, class X>
struct FourChunks {
    using Block = typename Format::Block;
    static constexpr std::int64_t kBytes =
        kBlocksPerChunk<Format> * static_cast<std::int64_t>(sizeof(typename Format::Block));

    const Block* blocks[kFour];
    const X* x[kFour];
    const std::byte* ahead;       // along rows: what is to be fetched with these; as many bytes
    std::int64_t rows_ahead = 0;  // across rows: how far behind each chunk that is

    GR_AVX2_INLINE void fetch_ahead(int i) const noexcept {
        if constexpr (Format::kAlongRow) {
            fetch_part(ahead, kFour * kBytes, i);
        } else if (i == 0) {
            GR_UNROLL
            for (int part = 0; part < kFour * kFour; ++part)
                fetch_part(reinterpret_cast<const std::byte*>(blocks[part / kFour]) + rows_ahead, kBytes,
                           part % kFour);
        }
    }
};

// The blocks of a row, of which four chunks at a time are taken. Where the row has fewer left the first
// blocks of the next row stand in for the others, which meet activations of zero or are not added up; after
// the last row zeros do, in a copy.
template <class Format>
class RowBlocks {
  public:
    // end: of the last row.
    explicit RowBlocks(const std::byte* end) noexcept : end_(end) {}

    // Chunks c … c + 3 of a row of n_values, which meet x[c] …
    template <class X>
    GR_AVX2_INLINE FourChunks<Format, X> four(const std::byte* row, std::int64_t n_values, std::int64_t c,
                                              const X* x) noexcept {
        constexpr std::int64_t kBytes = FourChunks<Format, X>::kBytes;
        const std::byte* at = row + c * kBytes;
        const Block* first = reinterpret_cast<const Block*>(at);
        if (end_ - at < kFour * kBytes) first = copy(at, n_values - c * ActivationBlock::kValues);
        FourChunks<Format, X> chunks;
        GR_UNROLL
        for (int i = 0; i < kFour; ++i) {
            chunks.blocks[i] = first + i * kBlocksPerChunk<Format>;
            chunks.x[i] = x + c + i;
        }
        chunks.ahead = at + kAheadAlong;
        return chunks;
    }

  private:
    using Block = typename Format::Block;

    const Block* copy(const std::byte* blocks, std::int64_t n_values) noexcept {
        const std::int64_t n_blocks = std::min<std::int64_t>(n_values / Block::kValues, std::size(last_));
        std::memset(static_cast<void*>(last_), 0, sizeof last_);
        std::memcpy(static_cast<void*>(last_), blocks, static_cast<std::size_t>(n_blocks) * sizeof(Block));
        return last_;
    }

    const std::byte* end_;
    Block last_[kFour * kBlocksPerChunk<Format>];
};

// Four rows side by side, from row r on.
template <class Format>
class RowsAside {
  public:
    GR_AVX2_INLINE RowsAside(const std::byte* rows, std::int64_t row_bytes, int r, int n_rows) noexcept
        : first_(r), n_(std::min(kFour, n_rows - r)) {
        GR_UNROLL
        for (int i = 0; i < kFour; ++i)
            chunks_.blocks[i] = reinterpret_cast<const typename Format::Block*>(
                rows + std::min(r + i, n_rows - 1) * row_bytes);
        chunks_.rows_ahead = row_bytes *
                             std::max<std::int64_t>(1, (kAheadAcross + 2 * row_bytes) /
                                                           std::max<std::int64_t>(1, kFour * row_bytes)) *
                             kFour;
    }

    // Their next chunks, which meet x.
    GR_AVX2_INLINE FourChunks<Format, ActivationBlock> next(const ActivationBlock& x) noexcept {
        FourChunks<Format, ActivationBlock> chunks = chunks_;
        GR_UNROLL
        for (int i = 0; i < kFour; ++i) {
            chunks.x[i] = &x;
            chunks_.blocks[i] += kBlocksPerChunk<Format>;
        }
        return chunks;
    }

    // Their sums, among those of all rows.
    GR_AVX2_INLINE __m128 load(const float* sums) const noexcept {
        alignas(16) float four[kFour] = {};
        std::copy_n(sums + first_, n_, four);
        return _mm_load_ps(four);
    }
    GR_AVX2_INLINE void store(__m128 v, float* sums) const noexcept {
        alignas(16) float four[kFour];
        _mm_store_ps(four, v);
        std::copy_n(four, n_, sums + first_);
    }

  private:
    int first_;
    int n_;
    FourChunks<Format, ActivationBlock> chunks_;
};

// How many chunks of a row meet the activations before the next rows do: those stay in the first-level cache.
inline constexpr std::int64_t kChunksAtOnce = 32;

// The activations of n chunks, of which four at a time are read: copied, with zeros after them, where they
// are no multiple of four; their scales stand beside each other.
template <int kPlanes>
class RowActivations {
  public:
    RowActivations(const ActivationBlock* x, std::int64_t n_chunks) noexcept : blocks(x), n(n_chunks) {
        if (n % kFour != 0) {
            std::copy_n(x, n, copies_);
            for (; n % kFour != 0; ++n) std::memset(&copies_[n], 0, sizeof copies_[n]);
            blocks = copies_;
        }
        for (std::int64_t c = 0; c < n; ++c)
            for (int p = 0; p < kPlanes; ++p) plane_scales[p][c] = blocks[c].plane_scale(p);
    }
    RowActivations(const RowActivations&) = delete;
    RowActivations& operator=(const RowActivations&) = delete;

    const ActivationBlock* blocks;
    std::int64_t n;  // a multiple of four
    alignas(64) float plane_scales[kPlanes][kChunksAtOnce];

  private:
    ActivationBlock copies_[kChunksAtOnce];
};

}  // namespace greenroom::cpu
