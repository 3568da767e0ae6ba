#pragma once

// What the kernels of IQ1, IQ2 and IQ3 share: 8 or 4 values at a time are a point of a grid
// (quant/iq_tables.h), with signs of their own in IQ2 and IQ3. Scales are odd integers for 16 or 32 values.

#include "cpu/dot_format.h"
#include "quant/iq_tables.h"

#include <bit>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

// ---- Points ----

// 32 values: points of 8 or 4 of them. at: where they stand in the grid.
template <class Index>
GR_AVX2_INLINE __m256i points_avx2(const quant::GridPoint8* grid, const Index* at) noexcept {
    return _mm256_setr_epi64x(
        std::bit_cast<std::int64_t>(grid[at[0]]), std::bit_cast<std::int64_t>(grid[at[1]]),
        std::bit_cast<std::int64_t>(grid[at[2]]), std::bit_cast<std::int64_t>(grid[at[3]]));
}
template <class Index>
GR_AVX2_INLINE __m256i points_avx2(const quant::GridPoint4* grid, const Index* at) noexcept {
    return _mm256_setr_epi32(
        std::bit_cast<std::int32_t>(grid[at[0]]), std::bit_cast<std::int32_t>(grid[at[1]]),
        std::bit_cast<std::int32_t>(grid[at[2]]), std::bit_cast<std::int32_t>(grid[at[3]]),
        std::bit_cast<std::int32_t>(grid[at[4]]), std::bit_cast<std::int32_t>(grid[at[5]]),
        std::bit_cast<std::int32_t>(grid[at[6]]), std::bit_cast<std::int32_t>(grid[at[7]]));
}

template <class Point>
inline constexpr int kPointsOf32 = 32 / static_cast<int>(sizeof(Point));

// 64 of them.
template <class Point, class Index>
GR_AVX512_INLINE __m512i points_avx512(const Point* grid, const Index* at) noexcept {
    return _mm512_inserti64x4(_mm512_castsi256_si512(points_avx2(grid, at)),
                              points_avx2(grid, at + kPointsOf32<Point>), 1);
}

// Numbers of three bits each, from bit 3 · (i % 4) of word i on.
GR_AVX2_INLINE __m256i triples_avx2(__m256i words) noexcept {
    const __m256i to_the_top = _mm256_set1_epi64x(0x0010'0080'0400'2000);
    return _mm256_srli_epi16(_mm256_mullo_epi16(words, to_the_top), 13);
}

// ---- Signs ----

// The eighth bit of bytes of seven (quant::kEvenSigns): that of their parity.
GR_AVX2_INLINE __m256i even_signs_avx2(__m256i seven) noexcept {
    const __m256i nibble = _mm256_set1_epi8(0xf);
    const __m256i odd = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, -128, -128, 0, -128, 0, 0, -128, -128, 0, 0, -128, 0, -128, -128, 0));
    const __m256i low = _mm256_shuffle_epi8(odd, _mm256_and_si256(seven, nibble));
    const __m256i high = _mm256_shuffle_epi8(odd, _mm256_and_si256(_mm256_srli_epi16(seven, 4), nibble));
    return _mm256_or_si256(seven, _mm256_xor_si256(low, high));
}

// The same of four times seven bits in each lane.
GR_AVX2_INLINE __m256i even_signs_of_28_avx2(__m256i lanes) noexcept {
    __m256i seven = _mm256_and_si256(lanes, _mm256_set1_epi32(0x7f));
    GR_UNROLL
    for (int i = 1; i < 4; ++i)
        seven = _mm256_or_si256(
            seven, _mm256_and_si256(_mm256_slli_epi32(lanes, i), _mm256_set1_epi32(0x7f << (8 * i))));
    return even_signs_avx2(seven);
}

// Those of a block: a bit per value, set where it is negative.
struct alignas(32) Signs {
    std::uint32_t of_32[8];

    GR_AVX2_INLINE explicit Signs(__m256i bits) noexcept {
        _mm256_store_si256(reinterpret_cast<__m256i*>(of_32), bits);
    }
    std::uint64_t of_64(int i) const noexcept { return of_32[2 * i] | std::uint64_t{of_32[2 * i + 1]} << 32; }
};

// offset ± value for 256 values whose magnitudes are points of a grid.
template <int kOffset, class Point, class Index>
GR_AVX2_INLINE void signed_points_avx2(const Point* grid, const Index* at, const Signs& signs,
                                       __m256i* w) noexcept {
    GR_UNROLL
    for (int i = 0; i < 8; ++i) {
        const __m256i points = points_avx2(grid, at + kPointsOf32<Point> * i);
        const __m256i negative = set_bytes_avx2(signs.of_32[i]);
        w[i] = _mm256_add_epi8(_mm256_sub_epi8(_mm256_xor_si256(points, negative), negative),
                               _mm256_set1_epi8(kOffset));
    }
}
template <int kOffset, class Point, class Index>
GR_AVX512_INLINE void signed_points_avx512(const Point* grid, const Index* at, const Signs& signs,
                                           __m512i* w) noexcept {
    const __m512i offset = _mm512_set1_epi8(kOffset);
    GR_UNROLL
    for (int i = 0; i < 4; ++i) {
        const __m512i points = points_avx512(grid, at + 2 * kPointsOf32<Point> * i);
        w[i] = _mm512_mask_sub_epi8(_mm512_add_epi8(offset, points), signs.of_64(i), offset, points);
    }
}

// What the formats (dot_format.h) with signs share. Format has grid() and Points, which finds in a block
// where its points stand (`at`) and their signs. kMagnitude: the largest.
template <class Format, class BlockType, int kMagnitude>
struct SignedPointsFormat {
    using Block = BlockType;
    static constexpr int kGroup = 16;
    static constexpr bool kFloatScales = false;
    static constexpr int kOffset = kMagnitude;
    static constexpr int kLargest = 2 * kMagnitude;
    static constexpr bool kHasMin = false;

    GR_AVX2_INLINE static void weights_avx2(const Block* block, __m256i* w) noexcept {
        const typename Format::Points points(block);
        signed_points_avx2<kOffset>(Format::grid(), points.at, points.signs, w);
    }
    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        const typename Format::Points points(block);
        signed_points_avx512<kOffset>(Format::grid(), points.at, points.signs, w);
    }
    static std::uint16_t factor(const Block* block) noexcept { return block->d; }
};

// ---- Scales ----

// 2q + 1 for 16 groups.
GR_AVX2_INLINE __m256i odd_scales_avx2(__m256i q) noexcept {
    return _mm256_add_epi16(_mm256_add_epi16(q, q), _mm256_set1_epi16(1));
}

// Of 8 groups of 32, q in lanes: each for both of its groups of 16.
GR_AVX2_INLINE __m256i odd_scales_of_32_avx2(__m256i q) noexcept {
    return odd_scales_avx2(_mm256_or_si256(q, _mm256_slli_epi32(q, 16)));
}

// Bytes to 2 nibbles each as bytes, the low one first.
GR_AVX2_INLINE __m256i nibbles_in_turn_avx2(__m128i bytes) noexcept {
    const __m256i words = _mm256_cvtepu8_epi16(bytes);
    return _mm256_or_si256(_mm256_and_si256(words, _mm256_set1_epi16(0xf)),
                           _mm256_slli_epi16(_mm256_and_si256(words, _mm256_set1_epi16(0xf0)), 4));
}

// Of 16 nibbles in 8 bytes.
GR_AVX2_INLINE __m256i odd_scales_of_nibbles_avx2(const std::uint8_t* bytes) noexcept {
    const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(bytes));
    return odd_scales_avx2(_mm256_cvtepu8_epi16(_mm256_castsi256_si128(nibbles_in_turn_avx2(eight))));
}

// ---- IQ1 ----

// 8 · value ± 1 + 9 of 32 values, which are −1, 0 or 1. raised: 9 ± 1.
GR_AVX2_INLINE __m256i ternary_avx2(__m256i points, __m256i raised) noexcept {
    const __m256i eightfold = _mm256_and_si256(_mm256_slli_epi16(points, 3), _mm256_set1_epi8(-8));
    return _mm256_add_epi8(eightfold, raised);
}

// What both formats share. Format has weights_avx2().
template <class Format, class BlockType>
struct TernaryFormat {
    using Block = BlockType;
    static constexpr int kGroup = 16;
    static constexpr bool kFloatScales = false;
    static constexpr int kOffset = 9;
    static constexpr int kLargest = 18;
    static constexpr bool kHasMin = false;
    static constexpr float kUnit = 0.125F;

    GR_AVX512_INLINE static void weights_avx512(const Block* block, __m512i* w) noexcept {
        __m256i of_32[8];
        Format::weights_avx2(block, of_32);
        GR_UNROLL
        for (int i = 0; i < 4; ++i)
            w[i] = _mm512_inserti64x4(_mm512_castsi256_si512(of_32[2 * i]), of_32[2 * i + 1], 1);
    }
};

}  // namespace greenroom::cpu
