#pragma once

// The frame of the kernels that take rows as they stand in memory, one vector (dot_quant.h):
// QuantDot::dot_rows.
//
// Bytes of weights are multiplied with a plane of bytes; with integer scales pairs of products, which stay
// within 16 bits, by the scale of their group, added up in lanes of 32 bits. What the lanes add up to is
// found for four chunks of 256 values together, which leaves a chunk a lane; so do most float operations.
//
// The four are of four rows, which meet the same activations. Memory is fetched in its own order meanwhile,
// see RowsAhead.

#include "cpu/dot_format.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <cstdint>

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

// What the scales of four super-blocks are multiplied by, and the minimums.
template <class Format>
GR_AVX2_INLINE __m128 factors_of_four(const typename Format::Block* const* blocks) noexcept {
    const __m128 d = four_halves(Format::factor(blocks[0]), Format::factor(blocks[1]),
                                 Format::factor(blocks[2]), Format::factor(blocks[3]));
    return unit_of<Format>() == 1 ? d : _mm_mul_ps(d, _mm_set1_ps(unit_of<Format>()));
}
template <class Format>
GR_AVX2_INLINE __m128 minimum_factors_of_four(const typename Format::Block* const* blocks) noexcept {
    return four_halves(Format::minimum_factor(blocks[0]), Format::minimum_factor(blocks[1]),
                       Format::minimum_factor(blocks[2]), Format::minimum_factor(blocks[3]));
}

// M of four chunks.
template <class Format>
GR_AVX2_INLINE __m128i minimum_sums_of_four(const typename Format::Block* const* blocks,
                                            const ActivationBlock& x, int plane) noexcept {
    __m128i lanes[kFour];
    GR_UNROLL
    for (int i = 0; i < kFour; ++i)
        lanes[i] = four_lanes(dot_sums(Format::minimums(blocks[i]), group_sums<Format>(x, plane)));
    return sum_lanes_of_four(lanes);
}

// Eight sums of 32 activations.
GR_AVX2_INLINE __m256i wide_sums_avx2(const std::int16_t* sums) noexcept {
    return _mm256_cvtepi16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(sums)));
}

// What four chunks of blocks with float scales add up to per block, and the scales and minimums of the
// blocks: a chunk per lane.
template <class Format, int kPlanes>
struct BlockSums {
    __m128 sums[kPlanes][kUnits];  // T_u
    __m128 scales[kUnits];
    __m128 minimums[kUnits];

    // c of each chunk. wide_sums: the eight S_u.
    GR_AVX2_INLINE __m128 add_up(int plane, const std::int16_t* wide_sums) const noexcept {
        __m128 c = _mm_setzero_ps();
        GR_UNROLL
        for (int u = 0; u < kUnits; ++u) c = _mm_fmadd_ps(sums[plane][u], scales[u], c);
        if constexpr (Format::kHasMin) {
            alignas(32) float floats[kUnits];
            _mm256_store_ps(floats, _mm256_cvtepi32_ps(wide_sums_avx2(wide_sums)));
            GR_UNROLL
            for (int u = 0; u < kUnits; ++u) c = _mm_fmadd_ps(_mm_broadcast_ss(floats + u), minimums[u], c);
        }
        return c;
    }
};

// What the chunks of four rows add to the sums of the rows: for each plane number · factor, and minus that of
// the minimums where they are integers.
template <class Format, int kPlanes>
struct FourTerms {
    static constexpr int kPerPlane = Format::kHasMin && !Format::kFloatScales ? 2 : 1;
    static constexpr int kTerms = kPlanes * kPerPlane;

    __m128 numbers[kTerms];
    __m128 factors[kTerms];

    GR_AVX2_INLINE __m128 add_to(__m128 sums) const noexcept {
        GR_UNROLL
        for (int t = 0; t < kTerms; ++t)
            sums = t % kPerPlane == 0 ? _mm_fmadd_ps(numbers[t], factors[t], sums)
                                      : _mm_fnmadd_ps(numbers[t], factors[t], sums);
        return sums;
    }
};

// Processors fetch ahead by themselves, but not from one page into the next. So where the lines that are
// fetched enter a page, the first lines of a later one are, too, which sets them to work on it in time: Q4_K
// with rows of 2048 values makes 35 instead of 32.5 GB/s, where reading alone makes 40.
inline constexpr std::int64_t kPage = 4096;
inline constexpr std::int64_t kPagesOn = 2;
inline constexpr int kFirstLines = 2;

// Cores with few places for lines that are on their way to the first-level cache read faster when these are
// asked of the second-level one before: one of Granite Rapids, which reads 15.1 GB/s, makes 13.8 instead of
// 11.7 with Qwen3. (Zen 5 lost 0.5 to 2 % to the like.) So the kernels for such cores take formats with a
// mark.
template <class Format>
constexpr bool fetches_twice() noexcept {
    if constexpr (requires { typename Format::FetchesTwice; })
        return true;
    else
        return false;
}

// Walks over rows before those that are in use, in the order of memory. That is not quite the order of use,
// but one sequence of lines is what processors fetch well, and four rows side by side are not: on Zen 5,
// whose cores read 40 GB/s, Q8_0 makes 37 instead of 28, Q6_K 36 instead of 27.
class RowsAhead {
  public:
    // Rows of n_bytes, row_bytes from one to the next.
    RowsAhead(const std::byte* rows, std::int64_t row_bytes, std::int64_t n_bytes) noexcept
        : at_(rows), n_bytes_(n_bytes), gap_(row_bytes - n_bytes), left_(n_bytes) {
        take(kRowsAhead + (kFour - 1) * n_bytes);
    }

    // Where the next n_bytes begin, which may go on a little behind the end of a row.
    const std::byte* take(std::int64_t n_bytes) noexcept {
        const std::byte* at = at_;
        at_ += n_bytes;
        if (gap_ == 0) return at;
        for (left_ -= n_bytes; left_ <= 0; left_ += n_bytes_) at_ += gap_;
        return at;
    }

    // Goes back by what was taken behind the end of rows, a chunk's bytes of each of four at most.
    void go_back(std::int64_t n_bytes) noexcept {
        at_ -= n_bytes;
        left_ += n_bytes;
    }

  private:
    const std::byte* at_;
    std::int64_t n_bytes_;
    std::int64_t gap_;
    std::int64_t left_;  // of the row
};

// The chunks of four rows that meet the same activations, which are X as the format meets them.
template <class Format, class X>
struct FourChunks {
    using Block = typename Format::Block;
    static constexpr std::int64_t kBytes =
        kBlocksPerChunk<Format> * static_cast<std::int64_t>(sizeof(typename Format::Block));

    const Block* blocks[kFour];
    const X* x;
    const std::byte* ahead;  // as many bytes, to be fetched with these

    // Brings part i of four of these to the first-level cache. Beyond the end of memory nothing happens.
    // What comes a page later is brought to the second-level cache where the format says so.
    // Always inlined: g++ 12 takes a function that only prefetches for one without effect.
    [[gnu::always_inline]] void fetch_ahead(int i) const noexcept {
        constexpr std::int64_t kLines = (kFour * kBytes + kLine - 1) / kLine;
        GR_UNROLL
        for (std::int64_t line = i * kLines / kFour; line < (i + 1) * kLines / kFour; ++line)
            __builtin_prefetch(ahead + line * kLine, 0, 3);
        if constexpr (fetches_twice<Format>()) {
            GR_UNROLL
            for (std::int64_t line = i * kLines / kFour; line < (i + 1) * kLines / kFour; ++line)
                __builtin_prefetch(ahead + kPage + line * kLine, 0, 2);
        }
        if (i == 0) fetch_first_lines();
    }

  private:
    static constexpr std::int64_t kLine = 64;

    // Those of a later page, to the second-level cache, if `ahead` has just entered one.
    [[gnu::always_inline]] void fetch_first_lines() const noexcept {
        const auto in_page = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(ahead) % kPage);
        if (in_page >= kFour * kBytes) return;
        const std::byte* page = ahead - in_page + kPagesOn * kPage;
        GR_UNROLL
        for (int line = 0; line < kFirstLines; ++line) __builtin_prefetch(page + line * kLine, 0, 2);
    }
};

// Rows of n_values, of which four at a time are read. Where fewer are left the last one stands in for the
// others. Where a row ends within a chunk, the first blocks of the next row stand in for the rest, which
// meets activations of zero; after the last row zeros do, in a copy: a part of its own, so that all others
// are found with one addition.
//
//     rows.begin(r);
//     do {
//         for (c = rows.first(); c < rows.last(); ++c) … rows.chunks(c, x[c]) …
//     } while (rows.go_on());
template <class Format, class X>
class RowsOfFour {
  public:
    RowsOfFour(const std::byte* rows, std::int64_t row_bytes, int n_rows, std::int64_t n_values) noexcept
        : rows_(rows),
          row_bytes_(row_bytes),
          n_rows_(n_rows),
          n_chunks_(activation_blocks(n_values)),
          n_bytes_(n_values / Block::kValues * static_cast<std::int64_t>(sizeof(Block))),
          end_(rows + (n_rows - 1) * row_bytes + n_bytes_),
          ahead_(rows, row_bytes, n_bytes_) {}

    // Goes to the start of rows r … r + 3.
    GR_AVX2_INLINE void begin(int r) noexcept {
        GR_UNROLL
        for (int i = 0; i < kFour; ++i) at_[i] = rows_ + std::min(r + i, n_rows_ - 1) * row_bytes_;
        first_ = 0;
        last_ = n_chunks_;
        if constexpr ((kBlocksPerChunk<Format>) > 1) {
            if (end_ - at_[kFour - 1] < n_chunks_ * kBytes) --last_;
            if (r > 0) ahead_.go_back(kFour * (n_chunks_ * kBytes - n_bytes_));
        }
    }

    std::int64_t first() const noexcept { return first_; }
    std::int64_t last() const noexcept { return last_; }

    // Chunks c, which meet x. Call it for all of a part, in order.
    GR_AVX2_INLINE FourChunks<Format, X> chunks(std::int64_t c, const X& x) noexcept {
        FourChunks<Format, X> chunks;
        GR_UNROLL
        for (int i = 0; i < kFour; ++i)
            chunks.blocks[i] = reinterpret_cast<const Block*>(at_[i] + (c - first_) * kBytes);
        chunks.x = &x;
        chunks.ahead = ahead_.take(kFour * kBytes);
        return chunks;
    }

    // Goes to the next part, if there is one.
    bool go_on() noexcept {
        if constexpr ((kBlocksPerChunk<Format>) > 1)
            if (last_ < n_chunks_) {
                const std::int64_t n_left = n_bytes_ - last_ * kBytes;
                std::memset(static_cast<void*>(copies_), 0, sizeof copies_);
                for (int i = 0; i < kFour; ++i) {
                    std::memcpy(static_cast<void*>(copies_[i]), at_[i] + last_ * kBytes,
                                static_cast<std::size_t>(n_left));
                    at_[i] = reinterpret_cast<const std::byte*>(copies_[i]);
                }
                first_ = last_;
                last_ = n_chunks_;
                return true;
            }
        return false;
    }

  private:
    using Block = typename Format::Block;
    static constexpr std::int64_t kBytes = FourChunks<Format, X>::kBytes;

    const std::byte* rows_;
    std::int64_t row_bytes_;
    int n_rows_;
    std::int64_t n_chunks_;
    std::int64_t n_bytes_;  // of a row
    const std::byte* end_;  // of the last row
    RowsAhead ahead_;
    const std::byte* at_[kFour];  // chunk first_
    std::int64_t first_ = 0;
    std::int64_t last_ = 0;
    Block copies_[kFour][kBlocksPerChunk<Format>];
};

// How many chunks of a row meet the activations before the next rows do: those stay in the first-level cache.
inline constexpr std::int64_t kChunksAtOnce = 32;

}  // namespace greenroom::cpu
