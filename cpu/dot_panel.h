#pragma once

// The frame of the kernels for many vectors (dot_quant.h): the rows of a tile, laid out as a panel in which
// each row has lanes of its own. Sums over the values of a row then need no shuffles, and weights are
// unpacked and multiplied by their integer scales once for all vectors.
//
// Per unit of weights, two times 16 rows and a dozen vectors there are 24 sums in registers; two values of
// all rows are read, two of each vector broadcast to all lanes, and multiplied: one instruction for 32
// products.

#include "cpu/dot_format.h"
#include "cpu/dot_rows.h"

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

// What 256 values of some rows have of scales and minimums: integers with their factors, or floats.
template <class Format, int kRows>
struct PanelNumbers {
    alignas(64) std::int16_t scales[kRows][ActivationBlock::kGroups] = {};
    alignas(64) std::int16_t minimums[kRows][ActivationBlock::kGroups] = {};
    alignas(64) std::uint16_t factors[2][kRows] = {};  // d, dmin
    __m256 block_scales[2][kRows];                     // those of 8 blocks, and minimums

    GR_AVX2_INLINE void take(int r, const typename Format::Block* block) noexcept {
        if constexpr (kIntegerScales<Format>) {
            store_words(scales[r], Format::scales(block));
            factors[0][r] = Format::factor(block);
            if constexpr (Format::kHasMin) {
                store_words(minimums[r], Format::minimums(block));
                factors[1][r] = Format::minimum_factor(block);
            }
        } else {
            block_scales[0][r] = Format::scales(block);
            if constexpr (Format::kHasMin) block_scales[1][r] = Format::minimums(block);
        }
    }
};

// Two words of a vector, to be broadcast.
inline std::int32_t pair_at(const std::int16_t* q) noexcept {
    std::int32_t pair = 0;
    std::memcpy(&pair, q, sizeof pair);
    return pair;
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

}  // namespace greenroom::cpu
