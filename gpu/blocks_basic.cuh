#pragma once

// Formats (block_unit.cuh) with one scale per block or group, and the ternary ones. quant/decode_basic.cpp
// says the same value by value.

#include "gpu/block_unit.cuh"
#include "quant/iq_tables.h"

namespace greenroom::gpu {

// Four words of nibbles, halves: values 0–15 in the low ones.
GR_DEVICE void split_nibbles(const std::uint32_t (&words)[4], Unit& unit) {
    GR_UNROLL
    for (int i = 0; i < 4; ++i) {
        unit.q[i] = words[i] & 0x0f0f0f0fU;
        unit.q[i + 4] = words[i] >> 4 & 0x0f0f0f0fU;
    }
}

template <>
struct Format<quant::BlockQ4_0> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int, Unit& unit) {
        std::uint32_t words[4];
        read_words<quant::BlockQ4_0>(block, 2, words);
        split_nibbles(words, unit);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) unit.q[i] = subtract_bytes(unit.q[i], 8);
        set_scale(unit, read_half(block, 0));
    }
};

template <>
struct Format<quant::BlockQ4_1> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = true;
    static GR_DEVICE void read(const std::byte* block, int, Unit& unit) {
        std::uint32_t head[1];
        std::uint32_t words[4];
        read_words<quant::BlockQ4_1>(block, 0, head);
        read_words<quant::BlockQ4_1>(block, 4, words);
        split_nibbles(words, unit);
        set_scale(unit, low_half(head[0]), high_half(head[0]));
    }
};

// The fifth bits of 32 values, in order.
GR_DEVICE void add_fifth_bits(std::uint32_t bits, Unit& unit) {
    GR_UNROLL
    for (int i = 0; i < 8; ++i) unit.q[i] |= spread_bits(bits >> (4 * i) & 0xf) << 4;
}

template <>
struct Format<quant::BlockQ5_0> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int, Unit& unit) {
        std::uint32_t words[4];
        std::uint32_t fifth[1];
        read_words<quant::BlockQ5_0>(block, 2, fifth);
        read_words<quant::BlockQ5_0>(block, 6, words);
        split_nibbles(words, unit);
        add_fifth_bits(fifth[0], unit);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) unit.q[i] = subtract_bytes(unit.q[i], 16);
        set_scale(unit, read_half(block, 0));
    }
};

template <>
struct Format<quant::BlockQ5_1> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = true;
    static GR_DEVICE void read(const std::byte* block, int, Unit& unit) {
        std::uint32_t head[2];
        std::uint32_t words[4];
        read_words<quant::BlockQ5_1>(block, 0, head);
        read_words<quant::BlockQ5_1>(block, 8, words);
        split_nibbles(words, unit);
        add_fifth_bits(head[1], unit);
        set_scale(unit, low_half(head[0]), high_half(head[0]));
    }
};

template <>
struct Format<quant::BlockQ8_0> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int, Unit& unit) {
        read_words<quant::BlockQ8_0>(block, 2, unit.q);
        set_scale(unit, read_half(block, 0));
    }
};

template <>
struct Format<quant::BlockQ1_0> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t bits[1];
        read_words<quant::BlockQ1_0>(block, 2 + 4 * u, bits);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) unit.q[i] = subtract_bytes(2 * spread_bits(bits[0] >> (4 * i) & 0xf), 1);
        set_scale(unit, read_half(block, 0));
    }
};

template <>
struct Format<quant::BlockQ2_0> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t words[2];
        read_words<quant::BlockQ2_0>(block, 2 + 8 * u, words);
        GR_UNROLL
        for (int i = 0; i < 8; ++i)
            unit.q[i] = subtract_bytes(spread_pairs(words[i / 4] >> (8 * (i % 4)) & 0xff), 1);
        set_scale(unit, read_half(block, 0));
    }
};

constexpr Levels kE2m1Levels = pack_levels(quant::kE2m1Doubled);

// Half of an E8M0 scale and of an unsigned E4M3 one, as quant/half.h has them: halved, since the levels are
// doubled.
GR_DEVICE float e8m0_half(std::uint32_t e) {
    return bits_as<float>(e < 2 ? 0x00200000U << e : (e - 1) << 23);
}
GR_DEVICE float ue4m3_half(std::uint32_t e) {
    const std::uint32_t exponent = e >> 3 & 0xf;
    const std::uint32_t mantissa = e & 7;
    if (e == 0x7f) return 0.0F;
    if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-10F;
    return bits_as<float>((exponent + 127 - 7 - 1) << 23 | mantissa << 20);
}

template <>
struct Format<quant::BlockMXFP4> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int, Unit& unit) {
        std::uint32_t words[4];
        read_words<quant::BlockMXFP4>(block, 1, words);
        const Levels levels = kE2m1Levels;
        GR_UNROLL
        for (int i = 0; i < 4; ++i) look_up(levels, words[i], unit.q[i], unit.q[i + 4]);
        set_scale(unit, e8m0_half(read_u8(block, 0)));
    }
};

template <>
struct Format<quant::BlockNVFP4> {
    static constexpr bool kTwoScales = true;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t scales[1];
        std::uint32_t words[4];
        read_words<quant::BlockNVFP4>(block, 0, scales);
        read_words<quant::BlockNVFP4>(block, 4 + 16 * u, words);
        const Levels levels = kE2m1Levels;
        // Halves of 8 values each: q[0], q[1] are the low nibbles of two words, q[2], q[3] their high ones.
        GR_UNROLL
        for (int i = 0; i < 4; ++i) {
            const int at = i / 2 * 4 + i % 2;
            look_up(levels, words[i], unit.q[at], unit.q[at + 2]);
        }
        set_scale(unit, ue4m3_half(scales[0] >> (16 * u) & 0xff));
        unit.scale[1] = ue4m3_half(scales[0] >> (16 * u + 8) & 0xff);
    }
};

// A byte of TQ1_0 is a fraction whose base-3 digits are the values: see quant/decode_basic.cpp. Digit n of
// each of a word's bytes, minus one; power is 3^n. Two bytes at a time, so that products have room.
GR_DEVICE std::uint32_t base_3_digits(std::uint32_t word, std::uint32_t power) {
    const std::uint32_t even = ((word & 0x00ff00ffU) * power & 0x00ff00ffU) * 3 >> 8 & 0x00ff00ffU;
    const std::uint32_t odd = ((word >> 8 & 0x00ff00ffU) * power & 0x00ff00ffU) * 3 & 0xff00ff00U;
    return subtract_bytes(even | odd, 1);
}
GR_DEVICE std::uint32_t power_of_3(int n) {  // n < 5
    return n == 0 ? 1 : 0x511b0903U >> (8 * n - 8) & 0xff;
}

template <>
struct Format<quant::BlockTQ1_0> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    // Values 0–159 are the five digits of bytes 0–31, 160–239 those of bytes 32–47, 240–255 the first four of
    // bytes 48–51.
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        GR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const int run = 2 * u + half;  // of 16 values
            std::uint32_t words[4];
            if (run < 15) {
                read_words<quant::BlockTQ1_0>(block, run < 10 ? 16 * half : 32, words);
                const std::uint32_t power = power_of_3(run < 10 ? u : run - 10);
                GR_UNROLL
                for (int i = 0; i < 4; ++i) unit.q[4 * half + i] = base_3_digits(words[i], power);
            } else {
                std::uint32_t last[1];
                read_words<quant::BlockTQ1_0>(block, 48, last);
                GR_UNROLL
                for (int i = 0; i < 4; ++i) unit.q[4 * half + i] = base_3_digits(last[0], power_of_3(i));
            }
        }
        set_scale(unit, read_half(block, 52));
    }
};

template <>
struct Format<quant::BlockTQ2_0> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        read_words<quant::BlockTQ2_0>(block, 32 * (u / 4), unit.q);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) unit.q[i] = subtract_bytes(unit.q[i] >> (2 * (u % 4)) & 0x03030303U, 1);
        set_scale(unit, read_half(block, 64));
    }
};

}  // namespace greenroom::gpu
