#pragma once

// Formats (block_unit.cuh) of the IQ types: points of grids, 8 or 4 values at a time, and the two types with
// 16 uneven levels. quant/decode_iq.cpp says the same value by value.

#include "gpu/block_unit.cuh"
#include "gpu/grids.cuh"
#include "quant/iq_tables.h"

namespace greenroom::gpu {

// The scale of a group of the 2-bit types, from four bits: d · (q + ½) / 4.
GR_DEVICE float scale_2_bit(float d, std::uint32_t q) { return d * (0.5F + static_cast<float>(q)) * 0.25F; }

// Seven signs and the eighth that makes their number even (quant::kEvenSigns).
GR_DEVICE std::uint32_t even_signs(std::uint32_t seven) {
    // Bit n of 0x6996 is the parity of n < 16.
    return seven | (0x6996U >> ((seven ^ seven >> 4) & 0xf) & 1) << 7;
}

// Values 8·i … 8·i + 7 of the unit: a point and its eight signs.
GR_DEVICE void put_signed(const std::uint32_t (&point)[2], std::uint32_t signs, int i, Unit& unit) {
    unit.q[2 * i] = negate_bytes(point[0], signs & 0xf);
    unit.q[2 * i + 1] = negate_bytes(point[1], signs >> 4 & 0xf);
}

template <>
struct Format<quant::BlockIQ2XXS> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t words[2];  // four indices; signs and scale
        read_words<quant::BlockIQ2XXS>(block, 2 + 8 * u, words);
        GR_UNROLL
        for (int i = 0; i < 4; ++i)
            put_signed(kIq2XxsPoints.point[words[0] >> (8 * i) & 0xff], even_signs(words[1] >> (7 * i) & 127),
                       i, unit);
        set_scale(unit, scale_2_bit(read_half(block, 0), words[1] >> 28));
    }
};

// Two scales of nibbles of a byte.
GR_DEVICE void set_nibble_scales(float d, std::uint32_t byte, Unit& unit) {
    set_scale(unit, scale_2_bit(d, byte & 0xf));
    unit.scale[1] = scale_2_bit(d, byte >> 4);
}

template <>
struct Format<quant::BlockIQ2XS> {
    static constexpr bool kTwoScales = true;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t words[2];
        read_words<quant::BlockIQ2XS>(block, 2 + 8 * u, words);
        GR_UNROLL
        for (int i = 0; i < 4; ++i) {
            const std::uint32_t q = words[i / 2] >> (16 * (i % 2)) & 0xffff;
            put_signed(kIq2XsPoints.point[q & 511], even_signs(q >> 9), i, unit);
        }
        set_nibble_scales(read_half(block, 0), read_u8(block, 66 + u), unit);
    }
};

template <>
struct Format<quant::BlockIQ2S> {
    static constexpr bool kTwoScales = true;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t low[1];
        std::uint32_t signs[1];
        read_words<quant::BlockIQ2S>(block, 2 + 4 * u, low);
        read_words<quant::BlockIQ2S>(block, 34 + 4 * u, signs);
        const std::uint32_t high = read_u8(block, 66 + u);
        GR_UNROLL
        for (int i = 0; i < 4; ++i) {
            const std::uint32_t index = (low[0] >> (8 * i) & 0xff) | (high >> (2 * i) & 3) << 8;
            put_signed(kIq2SPoints.point[index], signs[0] >> (8 * i), i, unit);
        }
        set_nibble_scales(read_half(block, 0), read_u8(block, 74 + u), unit);
    }
};

template <>
struct Format<quant::BlockIQ3XXS> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t indices[2];
        std::uint32_t signs_and_scale[1];
        read_words<quant::BlockIQ3XXS>(block, 2 + 8 * u, indices);
        read_words<quant::BlockIQ3XXS>(block, 66 + 4 * u, signs_and_scale);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) {
            const std::uint32_t signs = even_signs(signs_and_scale[0] >> (7 * (i / 2)) & 127);
            const std::uint32_t index = indices[i / 4] >> (8 * (i % 4)) & 0xff;
            unit.q[i] = negate_bytes(kIq3XxsPoints.point[index][0], signs >> (4 * (i % 2)) & 0xf);
        }
        const float q = static_cast<float>(signs_and_scale[0] >> 28);
        set_scale(unit, read_half(block, 0) * (0.5F + q) * 0.5F);
    }
};

template <>
struct Format<quant::BlockIQ3S> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t low[2];
        std::uint32_t signs[1];
        read_words<quant::BlockIQ3S>(block, 2 + 8 * u, low);
        read_words<quant::BlockIQ3S>(block, 74 + 4 * u, signs);
        const std::uint32_t high = read_u8(block, 66 + u);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) {
            const std::uint32_t index = (low[i / 4] >> (8 * (i % 4)) & 0xff) | (high >> i & 1) << 8;
            unit.q[i] = negate_bytes(kIq3SPoints.point[index][0], signs[0] >> (4 * i) & 0xf);
        }
        const std::uint32_t q = read_u8(block, 106 + u / 2) >> (4 * (u % 2)) & 0xf;
        set_scale(unit, read_half(block, 0) * static_cast<float>(1 + 2 * q));
    }
};

// Values 8·i … of the unit: 8p + 1 or 8p − 1 for the values p = −1, 0, 1 of a point.
GR_DEVICE void put_shifted(const std::uint32_t (&point)[2], bool down, int i, Unit& unit) {
    GR_UNROLL
    for (int w = 0; w < 2; ++w) {
        const std::uint32_t eightfold = point[w] << 3 & 0xf8U * kEveryByte;
        // The top bits, flipped, keep the bytes apart while one is subtracted.
        const std::uint32_t less = ((eightfold ^ 0x80U * kEveryByte) - kEveryByte) ^ 0x80U * kEveryByte;
        unit.q[2 * i + w] = down ? less : eightfold | kEveryByte;
    }
}

template <>
struct Format<quant::BlockIQ1S> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t low[1];
        read_words<quant::BlockIQ1S>(block, 2 + 4 * u, low);
        const std::uint32_t qh = read_u16(block, 34 + 2 * u);
        GR_UNROLL
        for (int i = 0; i < 4; ++i) {
            const std::uint32_t index = (low[0] >> (8 * i) & 0xff) | (qh >> (3 * i) & 7) << 8;
            put_shifted(kIq1Points.point[index], (qh & 0x8000) != 0, i, unit);
        }
        set_scale(unit, read_half(block, 0) * static_cast<float>(2 * (qh >> 12 & 7) + 1) * 0.125F);
    }
};

template <>
struct Format<quant::BlockIQ1M> {
    static constexpr bool kTwoScales = true;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t low[1];
        std::uint32_t scales[2];  // two words of 16 bits each
        read_words<quant::BlockIQ1M>(block, 4 * u, low);
        read_words<quant::BlockIQ1M>(block, 48, scales);
        const std::uint32_t high = read_u16(block, 32 + 2 * u);  // a nibble per 8 values
        GR_UNROLL
        for (int i = 0; i < 4; ++i) {
            const std::uint32_t nibble = high >> (4 * i) & 0xf;
            const std::uint32_t index = (low[0] >> (8 * i) & 0xff) | (nibble & 7) << 8;
            put_shifted(kIq1Points.point[index], (nibble & 8) != 0, i, unit);
        }
        // The half float d is spread over the top four bits of the four words, lowest nibble first.
        const std::uint32_t d_bits = (scales[0] >> 12 & 0xf) | (scales[0] >> 28) << 4 |
                                     (scales[1] >> 12 & 0xf) << 8 | (scales[1] >> 28) << 12;
        const float d = half_bits_to_float(static_cast<std::uint16_t>(d_bits));
        const std::uint32_t word = (u < 4 ? scales[0] : scales[1]) >> (16 * (u / 2 % 2)) & 0xffff;
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            const std::uint32_t q = word >> (3 * (2 * (u % 2) + h)) & 7;
            unit.scale[h] = d * static_cast<float>(2 * q + 1) * 0.125F;
            unit.offset[h] = 0.0F;
        }
    }
};

constexpr Levels kIq4NlLevels = pack_levels(quant::kIq4NlValues);

template <>
struct Format<quant::BlockIQ4NL> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int, Unit& unit) {
        std::uint32_t words[4];
        read_words<quant::BlockIQ4NL>(block, 2, words);
        const Levels levels = kIq4NlLevels;
        GR_UNROLL
        for (int i = 0; i < 4; ++i) look_up(levels, words[i], unit.q[i], unit.q[i + 4]);
        set_scale(unit, read_half(block, 0));
    }
};

template <>
struct Format<quant::BlockIQ4XS> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t head[2];  // d and the scales' high bits; their low ones
        std::uint32_t words[4];
        read_words<quant::BlockIQ4XS>(block, 0, head);
        read_words<quant::BlockIQ4XS>(block, 8 + 16 * u, words);
        const Levels levels = kIq4NlLevels;
        GR_UNROLL
        for (int i = 0; i < 4; ++i) look_up(levels, words[i], unit.q[i], unit.q[i + 4]);
        const std::uint32_t scale = (head[1] >> (4 * u) & 0xf) | (head[0] >> (16 + 2 * u) & 3) << 4;
        set_scale(unit, low_half(head[0]) * static_cast<float>(static_cast<int>(scale) - 32));
    }
};

}  // namespace greenroom::gpu
