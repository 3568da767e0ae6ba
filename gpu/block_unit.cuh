#pragma once

// What every block type looks like to a kernel: units of 32 consecutive values, each of them a small integer
// times a scale, plus an offset for some types. One definition per type (Format<Block>, in blocks_basic.cuh,
// blocks_k.cuh and blocks_iq.cuh; blocks.cuh has them all) serves both ways of multiplying: the integers as
// they are (dot4), or the values, which are bit for bit those of quant/decode.
//
//     value 16·h + j of the unit  =  scale[h] · q[16·h + j]  (+ offset[h])        h = 0, 1; j = 0 … 15
//
// The 32 integers are eight words of four signed bytes, in order, the first in the lowest byte. IQ1_S and
// IQ1_M, whose values are scale · (p ± 1/8), fit in as (scale / 8) · (8p ± 1): exact, since 8 is a power of
// two.

#include "gpu/device.cuh"
#include "quant/blocks.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::gpu {

constexpr int kUnitValues = 32;

struct Unit {
    std::uint32_t q[8];
    float scale[2];
    float offset[2];  // zeros where the Format has none
};

// Format<Block>:
//     static constexpr bool kTwoScales    the two halves of a unit have scales (and offsets) of their own
//     static constexpr bool kHasOffset
//     static void read(const std::byte* block, int u, Unit& unit)     unit u of the block
template <class Block>
struct Format;

template <class Block>
constexpr int kUnitsPerBlock = Block::kValues / kUnitValues;

// What a block's address is a multiple of, given that the matrix begins at a multiple of 16.
template <class Block>
constexpr int kBlockAlignment = sizeof(Block) % 16 == 0  ? 16
                                : sizeof(Block) % 4 == 0 ? 4
                                : sizeof(Block) % 2 == 0 ? 2
                                                         : 1;

// Words of a block from this byte on. The offset is a multiple of the block's alignment, as they all are.
template <class Block, int n>
GR_DEVICE void read_words(const std::byte* block, int offset, std::uint32_t (&words)[n]) {
    load_words<kBlockAlignment<Block>>(block + offset, words);
}

GR_DEVICE std::uint32_t read_u8(const std::byte* block, int offset) {
    return static_cast<std::uint32_t>(block[offset]);
}
// Two bytes of a block whose size and whose offset are even.
GR_DEVICE std::uint32_t read_u16(const std::byte* block, int offset) {
    return *reinterpret_cast<const std::uint16_t*>(block + offset);
}
GR_DEVICE float read_half(const std::byte* block, int offset) {
    return half_bits_to_float(*reinterpret_cast<const std::uint16_t*>(block + offset));
}
GR_DEVICE float low_half(std::uint32_t word) {
    return half_bits_to_float(static_cast<std::uint16_t>(word & 0xffff));
}
GR_DEVICE float high_half(std::uint32_t word) {
    return half_bits_to_float(static_cast<std::uint16_t>(word >> 16));
}

GR_DEVICE void set_scale(Unit& unit, float scale) {
    unit.scale[0] = unit.scale[1] = scale;
    unit.offset[0] = unit.offset[1] = 0.0F;
}
GR_DEVICE void set_scale(Unit& unit, float scale, float offset) {
    unit.scale[0] = unit.scale[1] = scale;
    unit.offset[0] = unit.offset[1] = offset;
}

// ---- Four bytes of a word at once

constexpr std::uint32_t kEveryByte = 0x01010101U;

// Each byte, below 128, minus c <= 128: as signed bytes. The top bit keeps a byte from borrowing of the next.
GR_DEVICE std::uint32_t subtract_bytes(std::uint32_t word, std::uint32_t c) {
    return ((word | 0x80U * kEveryByte) - c * kEveryByte) ^ 0x80U * kEveryByte;
}

// The four low bits of `bits`, as four bytes of 0 or 1; the rest must be zero. The copies that the product
// adds are 7 bits apart, so they do not meet.
GR_DEVICE std::uint32_t spread_bits(std::uint32_t bits) { return bits * 0x00204081U & kEveryByte; }

// The four pairs of bits of a byte, as four bytes.
GR_DEVICE std::uint32_t spread_pairs(std::uint32_t byte) {
    return (byte | byte << 6 | byte << 12 | byte << 18) & 3 * kEveryByte;
}

// Bytes with the sign that bit j of the four bits says; no byte is zero (then −x = ~x + 1 carries nothing).
GR_DEVICE std::uint32_t negate_bytes(std::uint32_t word, std::uint32_t signs) {
    const std::uint32_t negative = spread_bits(signs);
    return (word ^ negative * 0xffU) + negative;
}

// Sixteen levels that a nibble chooses among, four to a word.
struct Levels {
    std::uint32_t words[4];
};

template <class Table>
consteval Levels pack_levels(const Table& table) {
    Levels levels{};
    for (unsigned i = 0; i < 16; ++i)
        levels.words[i / 4] |= std::uint32_t{static_cast<std::uint8_t>(table[i])} << (8 * (i % 4));
    return levels;
}

// The levels of the four lowest nibbles of `nibbles`. byte_perm chooses among eight, by three bits: once from
// either half of the table, and once more, by the fourth bit, between the two results.
GR_DEVICE std::uint32_t look_up_nibbles(const Levels& levels, std::uint32_t nibbles) {
    const std::uint32_t low = byte_perm(levels.words[0], levels.words[1], nibbles & 0x7777);
    const std::uint32_t high = byte_perm(levels.words[2], levels.words[3], nibbles & 0x7777);
    return byte_perm(low, high, 0x3210 | (nibbles & 0x8888) >> 1);
}

// The levels of a word's eight nibbles: those of the low nibbles of its bytes, and of the high ones.
GR_DEVICE void look_up(const Levels& levels, std::uint32_t word, std::uint32_t& low, std::uint32_t& high) {
    const std::uint32_t first = look_up_nibbles(levels, word & 0xffff);
    const std::uint32_t second = look_up_nibbles(levels, word >> 16);
    low = byte_perm(first, second, 0x6420);
    high = byte_perm(first, second, 0x7531);
}

}  // namespace greenroom::gpu
