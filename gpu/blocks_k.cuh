#pragma once

// Formats (block_unit.cuh) of the K-quants. quant/decode_k.cpp says the same value by value. A unit's 32
// values are bits of 32 consecutive bytes, at a shift that the unit's number gives.

#include "gpu/block_unit.cuh"

namespace greenroom::gpu {

template <>
struct Format<quant::BlockQ2K> {
    static constexpr bool kTwoScales = true;
    static constexpr bool kHasOffset = true;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t d[1];
        read_words<quant::BlockQ2K>(block, 80, d);
        read_words<quant::BlockQ2K>(block, 16 + 32 * (u / 4), unit.q);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) unit.q[i] = unit.q[i] >> (2 * (u % 4)) & 0x03030303U;
        const std::uint32_t scales = read_u16(block, 2 * u);
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            unit.scale[h] = low_half(d[0]) * static_cast<float>(scales >> (8 * h) & 0xf);
            unit.offset[h] = -(high_half(d[0]) * static_cast<float>(scales >> (8 * h + 4) & 0xf));
        }
    }
};

template <>
struct Format<quant::BlockQ3K> {
    static constexpr bool kTwoScales = true;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t third[8];
        read_words<quant::BlockQ3K>(block, 0, third);
        read_words<quant::BlockQ3K>(block, 32 + 32 * (u / 4), unit.q);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) {
            const std::uint32_t low = unit.q[i] >> (2 * (u % 4)) & 0x03030303U;
            unit.q[i] = subtract_bytes(low | (third[i] >> u & kEveryByte) << 2, 4);
        }
        const std::uint32_t low = read_u16(block, 96 + 2 * (u % 4)) >> (4 * (u / 4));
        const std::uint32_t high = read_u16(block, 104 + 2 * (u % 2)) >> (2 * (u / 2));
        const float d = read_half(block, 108);
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            const std::uint32_t q = (low >> (8 * h) & 0xf) | (high >> (8 * h) & 3) << 4;
            unit.scale[h] = d * static_cast<float>(static_cast<int>(q) - 32);
            unit.offset[h] = 0.0F;
        }
    }
};

// Scale and minimum of unit u of a Q4_K or Q5_K block, from its first 16 bytes: d, dmin and the 12 bytes that
// quant::unpack_scales() explains.
GR_DEVICE void read_scale_and_minimum(const std::uint32_t (&head)[4], int u, Unit& unit) {
    const int shift = 8 * (u % 4);
    const std::uint32_t scale_byte = head[1] >> shift & 0xff;
    const std::uint32_t min_byte = head[2] >> shift & 0xff;
    const std::uint32_t low_bits = head[3] >> shift & 0xff;
    const std::uint32_t scale = u < 4 ? scale_byte & 0x3f : (low_bits & 0xf) | scale_byte >> 6 << 4;
    const std::uint32_t min = u < 4 ? min_byte & 0x3f : low_bits >> 4 | min_byte >> 6 << 4;
    set_scale(unit, low_half(head[0]) * static_cast<float>(scale),
              -(high_half(head[0]) * static_cast<float>(min)));
}

template <>
struct Format<quant::BlockQ4K> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = true;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t head[4];
        read_words<quant::BlockQ4K>(block, 0, head);
        read_words<quant::BlockQ4K>(block, 16 + 32 * (u / 2), unit.q);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) unit.q[i] = unit.q[i] >> (4 * (u % 2)) & 0x0f0f0f0fU;
        read_scale_and_minimum(head, u, unit);
    }
};

template <>
struct Format<quant::BlockQ5K> {
    static constexpr bool kTwoScales = false;
    static constexpr bool kHasOffset = true;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t head[4];
        std::uint32_t fifth[8];
        read_words<quant::BlockQ5K>(block, 0, head);
        read_words<quant::BlockQ5K>(block, 16, fifth);
        read_words<quant::BlockQ5K>(block, 48 + 32 * (u / 2), unit.q);
        GR_UNROLL
        for (int i = 0; i < 8; ++i)
            unit.q[i] = (unit.q[i] >> (4 * (u % 2)) & 0x0f0f0f0fU) | (fifth[i] >> u & kEveryByte) << 4;
        read_scale_and_minimum(head, u, unit);
    }
};

template <>
struct Format<quant::BlockQ6K> {
    static constexpr bool kTwoScales = true;
    static constexpr bool kHasOffset = false;
    static GR_DEVICE void read(const std::byte* block, int u, Unit& unit) {
        std::uint32_t high[8];
        read_words<quant::BlockQ6K>(block, 64 * (u / 4) + 32 * (u % 2), unit.q);
        read_words<quant::BlockQ6K>(block, 128 + 32 * (u / 4), high);
        GR_UNROLL
        for (int i = 0; i < 8; ++i) {
            const std::uint32_t low = unit.q[i] >> (u % 4 / 2 * 4) & 0x0f0f0f0fU;
            unit.q[i] = subtract_bytes(low | (high[i] >> (2 * (u % 4)) & 0x03030303U) << 4, 32);
        }
        const std::uint32_t scales = read_u16(block, 192 + 2 * u);
        const float d = read_half(block, 208);
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            unit.scale[h] = d * static_cast<float>(static_cast<std::int8_t>(scales >> (8 * h) & 0xff));
            unit.offset[h] = 0.0F;
        }
    }
};

}  // namespace greenroom::gpu
