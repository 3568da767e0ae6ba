// Formats with one scale per block or per group of 16, and the ternary ones.

#include "quant/decode_block.h"
#include "quant/half.h"
#include "quant/iq_tables.h"

namespace greenroom::quant {

void decode_block(const BlockQ4_0& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>((block.qs[j] & 0xf) - 8);
        y[j + 16] = d * static_cast<float>((block.qs[j] >> 4) - 8);
    }
}

void decode_block(const BlockQ4_1& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    const float m = f16_to_f32(block.m);
    for (int j = 0; j < 16; ++j) {
        y[j] = d * static_cast<float>(block.qs[j] & 0xf) + m;
        y[j + 16] = d * static_cast<float>(block.qs[j] >> 4) + m;
    }
}

void decode_block(const BlockQ5_0& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    const std::uint32_t qh = block.qh;
    for (int j = 0; j < 16; ++j) {
        const int low = (block.qs[j] & 0xf) | (qh >> j & 1) << 4;
        const int high = (block.qs[j] >> 4) | (qh >> (j + 16) & 1) << 4;
        y[j] = d * static_cast<float>(low - 16);
        y[j + 16] = d * static_cast<float>(high - 16);
    }
}

void decode_block(const BlockQ5_1& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    const float m = f16_to_f32(block.m);
    const std::uint32_t qh = block.qh;
    for (int j = 0; j < 16; ++j) {
        const int low = (block.qs[j] & 0xf) | (qh >> j & 1) << 4;
        const int high = (block.qs[j] >> 4) | (qh >> (j + 16) & 1) << 4;
        y[j] = d * static_cast<float>(low) + m;
        y[j + 16] = d * static_cast<float>(high) + m;
    }
}

void decode_block(const BlockQ8_0& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int j = 0; j < 32; ++j) y[j] = d * static_cast<float>(block.qs[j]);
}

void decode_block(const BlockQ1_0& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int j = 0; j < 128; ++j) y[j] = (block.qs[j / 8] >> (j % 8) & 1) != 0 ? d : -d;
}

void decode_block(const BlockQ2_0& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int j = 0; j < 64; ++j) {
        const int q = block.qs[j / 4] >> (2 * (j % 4)) & 3;
        y[j] = d * static_cast<float>(q - 1);
    }
}

void decode_block(const BlockMXFP4& block, float* y) noexcept {
    const float half_scale = e8m0_half_to_f32(block.e);
    for (int j = 0; j < 16; ++j) {
        y[j] = half_scale * static_cast<float>(kE2m1Doubled[block.qs[j] & 0xf]);
        y[j + 16] = half_scale * static_cast<float>(kE2m1Doubled[block.qs[j] >> 4]);
    }
}

void decode_block(const BlockNVFP4& block, float* y) noexcept {
    for (int group = 0; group < 4; ++group) {
        const float half_scale = ue4m3_half_to_f32(block.scales[group]);
        for (int j = 0; j < 8; ++j) {
            const int byte = block.qs[8 * group + j];
            y[16 * group + j] = half_scale * static_cast<float>(kE2m1Doubled[byte & 0xf]);
            y[16 * group + j + 8] = half_scale * static_cast<float>(kE2m1Doubled[byte >> 4]);
        }
    }
}

namespace {

// A byte of TQ1_0 is a fraction, byte / 256, whose first base-3 digits are the q's (the encoder rounds up, so
// that they come out right). Multiplying by 3^n modulo 256 moves digit n to the front; a digit at the front
// is the carry of one more multiplication by 3.
constexpr int kPowersOf3[] = {1, 3, 9, 27, 81};

float* put_digits(const std::uint8_t* bytes, int n_bytes, int n_digits, float d, float* y) noexcept {
    for (int n = 0; n < n_digits; ++n) {
        for (int j = 0; j < n_bytes; ++j) {
            const int fraction = bytes[j] * kPowersOf3[n] & 0xff;
            *y++ = d * static_cast<float>((fraction * 3 >> 8) - 1);
        }
    }
    return y;
}

}  // namespace

void decode_block(const BlockTQ1_0& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    y = put_digits(block.qs, 32, 5, d, y);
    y = put_digits(block.qs + 32, 16, 5, d, y);
    put_digits(block.qh, 4, 4, d, y);
}

void decode_block(const BlockTQ2_0& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int group = 0; group < 8; ++group) {
        const std::uint8_t* bytes = block.qs + 32 * (group / 4);
        const int shift = 2 * (group % 4);
        for (int j = 0; j < 32; ++j) y[32 * group + j] = d * static_cast<float>((bytes[j] >> shift & 3) - 1);
    }
}

}  // namespace greenroom::quant
