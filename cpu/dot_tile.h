#pragma once

// The frame of the kernels for many vectors (dot_quant.h): QuantDot::dot_tile. 256 values of the rows of a
// tile at a time are laid out so that each row has lanes of its own; then they meet all vectors. Sums over
// the values of a row need no shuffles, and weights are unpacked once for all vectors. What is laid out and
// the vectors' parts fit the first-level cache.

#include "cpu/dot_format.h"
#include "cpu/dot_rows.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

struct alignas(64) TileChunk {
    static constexpr int kQuads = ActivationBlock::kValues / 4;
    std::uint8_t weights[kQuads][kTileRows][4];  // four values of a row beside each other
    // Of groups, where they are integers; what a lane of 32 bits holds is the ISA's affair.
    std::int32_t integer_scales[ActivationBlock::kGroups][kTileRows];
    std::int16_t integer_minimums[ActivationBlock::kGroups / 2][kTileRows][2];  // of pairs of groups
    float scales[kUnits][kTileRows];                                            // of blocks, or d
    float minimums[kUnits][kTileRows];                                          // of blocks, or −dmin
};

GR_AVX2_INLINE void store_words(std::int16_t* words, __m128i numbers) noexcept {
    _mm_store_si128(reinterpret_cast<__m128i*>(words), numbers);
}
GR_AVX2_INLINE void store_words(std::int16_t* words, __m256i numbers) noexcept {
    _mm256_store_si256(reinterpret_cast<__m256i*>(words), numbers);
}

// What 256 values of some rows have of scales and minimums: integers with their factors, or floats.
template <class Format, int kRows>
struct TileNumbers {
    alignas(64) std::int16_t scales[kRows][ActivationBlock::kGroups];
    alignas(64) std::int16_t minimums[kRows][ActivationBlock::kGroups];
    alignas(64) std::uint16_t factors[2][kRows];  // d, dmin
    __m256 block_scales[2][kRows];                // those of 8 blocks, and minimums

    GR_AVX2_INLINE void take(int r, const typename Format::Block* block) noexcept {
        if constexpr (Format::kFloatScales) {
            block_scales[0][r] = Format::scales(block);
            if constexpr (Format::kHasMin) block_scales[1][r] = Format::minimums(block);
        } else {
            store_words(scales[r], Format::scales(block));
            factors[0][r] = Format::factor(block);
            if constexpr (Format::kHasMin) {
                store_words(minimums[r], Format::minimums(block));
                factors[1][r] = Format::minimum_factor(block);
            }
        }
    }
};

// Two words, or four bytes, to be broadcast.
template <class T>
std::int32_t lane_at(const T* numbers) noexcept {
    std::int32_t lane = 0;
    std::memcpy(&lane, numbers, sizeof lane);
    return lane;
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

// Brings the next 256 values of each row to the second-level cache while the present ones meet the vectors, a
// few lines at a time: all at once would wait for each other. After the last ones come those that the next
// tile begins with; beyond the end of memory nothing happens.
template <class Format>
class NextChunk {
  public:
    // n_parts: how often fetch_part() will be called.
    NextChunk(const std::byte* rows, std::int64_t row_bytes, int n_rows, std::int64_t c,
              std::int64_t n_chunks, int n_parts) noexcept
        : row_(c + 1 < n_chunks ? rows + (c + 1) * kBytes : rows + n_rows * row_bytes),
          row_bytes_(row_bytes),
          n_left_(n_rows),
          rows_per_part_((n_rows + n_parts - 1) / n_parts) {}

    void fetch_part() noexcept {
        constexpr int kLine = 64;
        for (int r = std::min(rows_per_part_, n_left_); r > 0; --r, --n_left_, row_ += row_bytes_) GR_UNROLL
        for (std::int64_t at = 0; at < kBytes; at += kLine) __builtin_prefetch(row_ + at, 0, 2);
    }

  private:
    static constexpr std::int64_t kBytes =
        kBlocksPerChunk<Format> * static_cast<int>(sizeof(typename Format::Block));

    const std::byte* row_;
    std::int64_t row_bytes_;
    int n_left_;
    int rows_per_part_;
};

}  // namespace greenroom::cpu
