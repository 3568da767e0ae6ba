#pragma once

// What the frames of the kernels (dot_rows.h, dot_tile.h) know of a weight format. A format is a
// struct of
//
//     using Block                    its block in quant/blocks.h
//     kGroup                         weights that share a scale: 32 or 16
//     kFloatScales                   whether scales are floats; else integers with a common factor
//     kOffset                        what weights_… has added to each weight to make it unsigned
//     kLargest                       the largest weight that weights_… gives
//     kHasMin                        there is a minimum per group
//     weights_avx2(block, w)         the 256 weights from block on, in order, as 8 vectors of unsigned bytes;
//                                    with float scales instead:
//     unit_avx2(block, i)            the i-th of these vectors
//     weights_avx512(block, w)       the same as 4 vectors, if the scales are integers; with float scales by
//                                    halves of blocks: the first 16 weights of blocks 0 – 3, their last 16,
//                                    the first 16 of blocks 4 – 7, their last 16
//
//     weights_vbmi(block, w)         if there is one, the same with what AVX-512 VBMI adds
//
// for 256 values at a time: one super-block, or 8 blocks of 32. With float scales
//
//     scales(block)                  the 8 scales
//     minimums(block)                likewise what is added to every weight of a block
//     scales_of_four_avx512(chunks, s)    those of four chunks as two vectors: that of block 4h + l of
//                                    chunk r in lane 4l + r of s[h]
//     minimums_of_four_avx512(chunks, m)    likewise
//
// else
//
//     scales(block)                  8 or 16 integers, as words of one vector
//     minimums(block)                likewise
//     kLargestScale                  if there is one: scales are from 0 to this
//     factor(block)                  d, a float16: what the scales are multiplied by
//     kUnit                          and, if there is one, a power of two by which d is multiplied
//     minimum_factor(block)          dmin: minus what the minimums are multiplied by
//
// A row may end in fewer than 8 blocks of 32; these are copied to zeroed blocks first, and meet activations
// that are zero from there on.

#include "cpu/dot_quant.h"
#include "cpu/simd.h"
#include "quant/half.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

template <class Format>
constexpr float unit_of() noexcept {
    if constexpr (requires { Format::kUnit; })
        return Format::kUnit;
    else
        return 1;
}

template <class Format>
inline constexpr int kBlocksPerChunk = ActivationBlock::kValues / Format::Block::kValues;

// Groups of 256 values.
template <class Format>
inline constexpr int kGroupsPerChunk = ActivationBlock::kValues / Format::kGroup;

// Blocks of 32 with a float scale each.
inline constexpr int kUnits = 8;

// The groups of 256 values, from value 256 · chunk on, that rows of n_values have: of such blocks the last
// chunk may lack some.
template <class Format>
constexpr int groups_of_chunk(std::int64_t chunk, std::int64_t n_values) noexcept {
    if constexpr (!Format::kFloatScales) return kGroupsPerChunk<Format>;
    const std::int64_t left = n_values - chunk * ActivationBlock::kValues;
    return static_cast<int>(std::min<std::int64_t>(kUnits, (left + Format::kGroup - 1) / Format::kGroup));
}

// The blocks of 256 values of a row from value 256 · chunk on: in the row itself, or if it ends before
// that many, copied to `last`.
template <class Format>
const typename Format::Block* chunk_blocks(const std::byte* row, std::int64_t chunk, std::int64_t n_values,
                                           typename Format::Block* last) noexcept {
    using Block = typename Format::Block;
    const auto* block = reinterpret_cast<const Block*>(row) + chunk * kBlocksPerChunk<Format>;
    const std::int64_t left = n_values - chunk * ActivationBlock::kValues;
    if (left >= ActivationBlock::kValues) return block;
    std::memset(static_cast<void*>(last), 0, kBlocksPerChunk<Format> * sizeof(Block));
    std::memcpy(static_cast<void*>(last), block,
                static_cast<std::size_t>(left / Block::kValues) * sizeof(Block));
    return last;
}

template <class Format>
GR_AVX2_INLINE void load_weights_avx2(const typename Format::Block* block, __m256i* w) noexcept {
    if constexpr (Format::kFloatScales) {
        GR_UNROLL
        for (int i = 0; i < kUnits; ++i) w[i] = Format::unit_avx2(block, i);
    } else {
        Format::weights_avx2(block, w);
    }
}

// ---- Pieces of several formats ----

// 32 bytes twice.
GR_AVX512_INLINE __m512i twice_avx512(const std::uint8_t* bytes) noexcept {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
}

// One number for the lower and one for the upper 32 bytes.
GR_AVX512_INLINE __m512i by_half_epi16(short low, short high) noexcept {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set1_epi16(low)), _mm256_set1_epi16(high), 1);
}
GR_AVX512_INLINE __m512i by_half_epi32(int low, int high) noexcept {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set1_epi32(low)), _mm256_set1_epi32(high), 1);
}

// Where mask has ones the bits of `bits`, else those of `base`, which has zeros there.
GR_AVX512_INLINE __m512i merge_bits_avx512(__m512i base, __m512i bits, __m512i mask) noexcept {
    return _mm512_ternarylogic_epi32(base, bits, mask, 0xf8);  // base | (bits & mask)
}

// 16 bytes to 32 nibbles, the low ones first. A shift of 32 bits serves: what it brings in from the byte
// above is masked away.
GR_AVX2_INLINE __m256i nibbles_avx2(const std::uint8_t* bytes) noexcept {
    const __m256i both =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
    const __m256i shifted = _mm256_srlv_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
    return _mm256_and_si256(shifted, _mm256_set1_epi8(0xf));
}

// 16 bytes of each of four blocks, `stride` bytes apart, in a 128-bit lane each.
GR_AVX512_INLINE __m512i load_lanes_avx512(const void* bytes, std::size_t stride) noexcept {
    const auto lane = [=](std::size_t i) {
        return reinterpret_cast<const __m128i*>(static_cast<const std::byte*>(bytes) + i * stride);
    };
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128(lane(0)));
    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, _mm_loadu_si128(lane(1)));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, _mm_loadu_si128(lane(2)));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, _mm_loadu_si128(lane(3)));
}

// 64 bytes to two vectors of nibbles, the low ones first.
GR_AVX512_INLINE void nibbles_avx512(__m512i bytes, __m512i* nibbles) noexcept {
    const __m512i nibble = _mm512_set1_epi8(0xf);
    nibbles[0] = _mm512_and_si512(bytes, nibble);
    nibbles[1] = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), nibble);
}

// Four blocks of 16 bytes of nibbles behind a header of up to four: of the 64 bytes from the first of them on
// 128-bit lane l holds the header of block l and the first of its nibbles; of those that begin four headers
// later it holds the others.
template <class Block>
inline constexpr bool kLanesReachHeaders = sizeof(Block) <= 20;
template <class Block>
struct LanesOfBlocks {
    static constexpr int kHeader = sizeof(Block) - 16;
    static constexpr std::uint8_t kNone = 0x80;
    struct Indices {
        alignas(64) std::uint8_t headers[64]{};  // to each of the four numbers of a lane
        alignas(64) std::uint8_t first[64]{};
        alignas(64) std::uint8_t others[64]{};
        alignas(64) std::uint8_t of_both[64]{};  // of the two one behind the other
        std::uint64_t are_others = 0;
    };
    static constexpr Indices kIndices = [] {
        Indices all;
        for (int i = 0; i < 64; ++i) {
            const int at = i / 16 * kHeader;  // where the block of this lane begins in it
            const int nibble = at + kHeader + i % 16;
            all.headers[i] = i % 4 < kHeader ? static_cast<std::uint8_t>(at + i % 4) : kNone;
            all.first[i] = nibble < 16 ? static_cast<std::uint8_t>(nibble) : kNone;
            all.others[i] = nibble < 16 ? kNone : static_cast<std::uint8_t>(nibble - 4 * kHeader);
            if (nibble >= 16) all.are_others |= std::uint64_t{1} << i;
            const int byte = i / 16 * static_cast<int>(sizeof(Block)) + kHeader + i % 16;
            all.of_both[i] = static_cast<std::uint8_t>(byte < 64 ? byte : 64 + byte - 4 * kHeader);
        }
        return all;
    }();

    // The nibbles of each in a lane.
    GR_AVX512_INLINE static __m512i nibbles(const Block* blocks) noexcept {
        const __m512i first = _mm512_loadu_si512(blocks);
        const __m512i others = _mm512_loadu_si512(reinterpret_cast<const std::byte*>(blocks) + 4 * kHeader);
        return _mm512_mask_shuffle_epi8(_mm512_shuffle_epi8(first, _mm512_load_si512(kIndices.first)),
                                        kIndices.are_others, others, _mm512_load_si512(kIndices.others));
    }
};

// The bytes of a table of 64 that the low six bits of each index choose. (This and the next in assembly, so
// that helpers need no target of their own.)
GR_AVX512_INLINE __m512i look_up_vbmi(__m512i table, __m512i indices) noexcept {
    __m512i bytes;
    asm("vpermb %1, %2, %0" : "=v"(bytes) : "v"(table), "v"(indices));
    return bytes;
}

// The same of the 64 bytes of `first` and then those in memory.
GR_AVX512_INLINE __m512i look_up_vbmi(__m512i first, const std::byte* others, __m512i indices) noexcept {
    asm("vpermt2b %2, %1, %0"
        : "+v"(first)
        : "v"(indices), "m"(*reinterpret_cast<const std::byte(*)[64]>(others)));
    return first;
}

// numbers[nibble] of 64 bytes, of the low nibbles first. numbers: the sixteen four times, so that the bits
// above a nibble do not matter.
GR_AVX512_INLINE void look_up_nibbles_vbmi(__m512i numbers, __m512i bytes, __m512i* looked_up) noexcept {
    looked_up[0] = look_up_vbmi(numbers, bytes);
    looked_up[1] = look_up_vbmi(numbers, _mm512_srli_epi16(bytes, 4));
}

// The same by halves of blocks, of blocks that hold 16 bytes of nibbles as qs.
template <class Block>
GR_AVX512_INLINE void look_up_blocks_vbmi(__m512i numbers, const Block* block, __m512i* looked_up) noexcept {
    GR_UNROLL
    for (int h = 0; h < 2; ++h) {
        const auto* four = reinterpret_cast<const std::byte*>(block + 4 * h);
        const __m512i bytes = look_up_vbmi(_mm512_loadu_si512(four), four + 4 * LanesOfBlocks<Block>::kHeader,
                                           _mm512_load_si512(LanesOfBlocks<Block>::kIndices.of_both));
        look_up_nibbles_vbmi(numbers, bytes, looked_up + 2 * h);
    }
}

// 256 weights by halves of blocks, of blocks that hold 16 bytes of nibbles as qs.
template <class Block>
GR_AVX512_INLINE void nibbles_of_blocks_avx512(const Block* block, __m512i* nibbles) noexcept {
    GR_UNROLL
    for (int h = 0; h < 2; ++h) {
        if constexpr (kLanesReachHeaders<Block>)
            nibbles_avx512(LanesOfBlocks<Block>::nibbles(block + 4 * h), nibbles + 2 * h);
        else
            nibbles_avx512(load_lanes_avx512(block[4 * h].qs, sizeof(Block)), nibbles + 2 * h);
    }
}

// The headers of blocks 4h … 4h + 3 of four rows, or their first four bytes: those of block 4h + l of row r
// in lane 4l + r.
template <class Block>
GR_AVX512_INLINE __m512i headers_of_four_avx512(const Block* const* rows, int h) noexcept {
    if constexpr (kLanesReachHeaders<Block>) {
        const __m512i places = _mm512_load_si512(LanesOfBlocks<Block>::kIndices.headers);
        __m512i all = _mm512_shuffle_epi8(_mm512_loadu_si512(rows[0] + 4 * h), places);
        all = _mm512_mask_shuffle_epi8(all, 0x00f000f000f000f0, _mm512_loadu_si512(rows[1] + 4 * h), places);
        all = _mm512_mask_shuffle_epi8(all, 0x0f000f000f000f00, _mm512_loadu_si512(rows[2] + 4 * h), places);
        return _mm512_mask_shuffle_epi8(all, 0xf000f000f000f000, _mm512_loadu_si512(rows[3] + 4 * h), places);
    } else {
        __m512i lanes[4];
        GR_UNROLL
        for (int r = 0; r < 4; ++r) lanes[r] = load_lanes_avx512(rows[r] + 4 * h, sizeof(Block));
        return _mm512_unpacklo_epi64(_mm512_unpacklo_epi32(lanes[0], lanes[1]),
                                     _mm512_unpacklo_epi32(lanes[2], lanes[3]));
    }
}

// Float16 numbers that stand kAt bytes from the start of the blocks of four rows, as scales_of_four_avx512
// gives them.
template <int kAt, class Block>
GR_AVX512_INLINE void halves_of_four_avx512(const Block* const* rows, __m512* halves) noexcept {
    GR_UNROLL
    for (int h = 0; h < 2; ++h) {
        const __m512i words = _mm512_srli_epi32(headers_of_four_avx512(rows, h), 8 * kAt);
        halves[h] = _mm512_cvtph_ps(_mm512_cvtepi32_epi16(words));
    }
}

// Bit `from` of every byte, moved to bit `to`. Call it with constants.
GR_AVX2_INLINE __m256i move_bit_avx2(__m256i bytes, int from, int to) noexcept {
    const __m256i bit = _mm256_and_si256(bytes, _mm256_set1_epi8(static_cast<char>(1 << from)));
    return to >= from ? _mm256_slli_epi16(bit, to - from) : _mm256_srli_epi16(bit, from - to);
}

// Byte j of all ones where bit j is set, else zero.
GR_AVX2_INLINE __m256i set_bytes_avx2(std::uint32_t bits) noexcept {
    // Byte j gets the byte that holds bit j, of which it looks at one bit.
    const __m256i source = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(static_cast<int>(bits)), source);
    const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201U));
    return _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
}

// Eight float16 numbers that stand `offset` bytes from the start of eight blocks.
template <class Block>
GR_AVX2_INLINE __m256 gather_halves(const Block* blocks, std::size_t offset) noexcept {
    const auto* bytes = reinterpret_cast<const std::byte*>(blocks) + offset;
    std::uint64_t words[2];
    for (std::size_t h = 0; h < 2; ++h) {
        words[h] = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            std::uint16_t half = 0;
            std::memcpy(&half, bytes + (4 * h + i) * sizeof(Block), sizeof half);
            words[h] |= std::uint64_t{half} << (16 * i);
        }
    }
    return _mm256_cvtph_ps(
        _mm_set_epi64x(static_cast<long long>(words[1]), static_cast<long long>(words[0])));
}

}  // namespace greenroom::cpu
