// IQ types: points of the grids of iq_tables.h, 8 or 4 values at a time, and the two types with 16 uneven
// levels.

#include "quant/decode_block.h"
#include "quant/half.h"
#include "quant/iq_tables.h"

#include <cstring>

namespace greenroom::quant {
namespace {

// y[j] = ± scale · point[j]; negative where bit j of signs is set.
template <int n>
void put_signed(const std::int8_t (&point)[n], int signs, float scale, float* y) noexcept {
    for (int j = 0; j < n; ++j) {
        const float magnitude = scale * static_cast<float>(point[j]);
        y[j] = (signs >> j & 1) != 0 ? -magnitude : magnitude;
    }
}

// y[j] = scale · (point[j] + shift), for the ternary grid.
void put_shifted(const std::int8_t (&point)[8], float shift, float scale, float* y) noexcept {
    for (int j = 0; j < 8; ++j) y[j] = scale * (static_cast<float>(point[j]) + shift);
}

// The scale of a group of the 2-bit types, from four bits: d · (q + ½) / 4.
float scale_2_bit(float d, int q) noexcept { return d * (0.5f + static_cast<float>(q)) * 0.25f; }

}  // namespace

void decode_block(const BlockIQ2XXS& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int group = 0; group < 8; ++group) {
        const std::uint8_t* indices = block.qs + 8 * group;
        std::uint32_t signs_and_scale;
        std::memcpy(&signs_and_scale, indices + 4, sizeof signs_and_scale);
        const float scale = scale_2_bit(d, static_cast<int>(signs_and_scale >> 28));
        for (int i = 0; i < 4; ++i, y += 8) {
            const int signs = kEvenSigns[signs_and_scale >> (7 * i) & 127];
            put_signed(kIq2XxsGrid[indices[i]].value, signs, scale, y);
        }
    }
}

void decode_block(const BlockIQ2XS& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int i = 0; i < 32; ++i, y += 8) {
        const float scale = scale_2_bit(d, block.scales[i / 4] >> (4 * (i / 2 % 2)) & 0xf);
        const int index = block.qs[i] & 511;
        put_signed(kIq2XsGrid[index].value, kEvenSigns[block.qs[i] >> 9], scale, y);
    }
}

void decode_block(const BlockIQ2S& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int i = 0; i < 32; ++i, y += 8) {
        const float scale = scale_2_bit(d, block.scales[i / 4] >> (4 * (i / 2 % 2)) & 0xf);
        const int index = block.qs[i] | (block.qh[i / 4] >> (2 * (i % 4)) & 3) << 8;
        put_signed(kIq2SGrid[index].value, block.signs[i], scale, y);
    }
}

void decode_block(const BlockIQ3XXS& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int group = 0; group < 8; ++group) {
        const std::uint32_t signs_and_scale = block.scales_and_signs[group];
        const float scale = d * (0.5f + static_cast<float>(signs_and_scale >> 28)) * 0.5f;
        for (int i = 0; i < 4; ++i, y += 8) {
            const int signs = kEvenSigns[signs_and_scale >> (7 * i) & 127];
            const std::uint8_t* indices = block.qs + 8 * group + 2 * i;
            put_signed(kIq3XxsGrid[indices[0]].value, signs, scale, y);
            put_signed(kIq3XxsGrid[indices[1]].value, signs >> 4, scale, y + 4);
        }
    }
}

void decode_block(const BlockIQ3S& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int i = 0; i < 64; ++i, y += 4) {
        const int group = i / 8;
        const int q = block.scales[group / 2] >> (4 * (group % 2)) & 0xf;
        const float scale = d * static_cast<float>(1 + 2 * q);
        const int index = block.qs[i] | (block.qh[group] >> (i % 8) & 1) << 8;
        put_signed(kIq3SGrid[index].value, block.signs[i / 2] >> (4 * (i % 2)), scale, y);
    }
}

void decode_block(const BlockIQ1S& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int i = 0; i < 32; ++i, y += 8) {
        const int qh = block.qh[i / 4];
        const float scale = d * static_cast<float>(2 * (qh >> 12 & 7) + 1);
        const float shift = (qh & 0x8000) != 0 ? -kIq1Shift : kIq1Shift;
        const int index = block.qs[i] | (qh >> (3 * (i % 4)) & 7) << 8;
        put_shifted(kIq1Grid[index].value, shift, scale, y);
    }
}

void decode_block(const BlockIQ1M& block, float* y) noexcept {
    // The half float d is spread over the top four bits of the words of scales, lowest nibble first.
    int d_bits = 0;
    for (int i = 0; i < 4; ++i) d_bits |= (block.scales[i] >> 12) << (4 * i);
    const float d = f16_to_f32(static_cast<std::uint16_t>(d_bits));
    for (int i = 0; i < 32; ++i, y += 8) {
        const int q = block.scales[i / 8] >> (3 * (i / 2 % 4)) & 7;  // one for 16 values
        const float scale = d * static_cast<float>(2 * q + 1);
        const int qh = block.qh[i / 2] >> (4 * (i % 2)) & 0xf;
        const float shift = (qh & 8) != 0 ? -kIq1Shift : kIq1Shift;
        const int index = block.qs[i] | (qh & 7) << 8;
        put_shifted(kIq1Grid[index].value, shift, scale, y);
    }
}

void decode_block(const BlockIQ4NL& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>(kIq4NlValues[block.qs[j] & 0xf]);
        y[j + 16] = d * static_cast<float>(kIq4NlValues[block.qs[j] >> 4]);
    }
}

void decode_block(const BlockIQ4XS& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int group = 0; group < 8; ++group, y += 32) {
        const int low = block.scales_l[group / 2] >> (4 * (group % 2)) & 0xf;
        const int high = block.scales_h >> (2 * group) & 3;
        const float scale = d * static_cast<float>((low | high << 4) - 32);
        const std::uint8_t* qs = block.qs + 16 * group;
        for (int j = 0; j < 16; ++j) {
            y[j] = scale * static_cast<float>(kIq4NlValues[qs[j] & 0xf]);
            y[j + 16] = scale * static_cast<float>(kIq4NlValues[qs[j] >> 4]);
        }
    }
}

}  // namespace greenroom::quant
