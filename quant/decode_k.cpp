// K-quants. The 256 values of a super-block are numbered in order; a byte holds bits of values that are 32
// (or 64) apart, so that a vector of bytes, shifted and masked, is a run of consecutive values.

#include "quant/decode_block.h"
#include "quant/half.h"

namespace greenroom::quant {

void decode_block(const BlockQ2K& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    const float dmin = f16_to_f32(block.dmin);
    for (int group = 0; group < 16; ++group) {
        const float scale = d * static_cast<float>(block.scales[group] & 0xf);
        const float min = dmin * static_cast<float>(block.scales[group] >> 4);
        // 32 bytes of qs carry 128 values: 8 groups, two side by side at each of four shifts.
        const std::uint8_t* qs = block.qs + 32 * (group / 8) + 16 * (group % 2);
        const int shift = 2 * (group / 2 % 4);
        for (int j = 0; j < 16; ++j) y[16 * group + j] = scale * static_cast<float>(qs[j] >> shift & 3) - min;
    }
}

void decode_block(const BlockQ3K& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int group = 0; group < 16; ++group) {
        // 6 bits: four in the nibbles of bytes 0..7, two in bytes 8..11.
        const int low = block.scales[group % 8] >> (4 * (group / 8)) & 0xf;
        const int high = block.scales[8 + group % 4] >> (2 * (group / 4)) & 3;
        const float scale = d * static_cast<float>((low | high << 4) - 32);
        const std::uint8_t* qs = block.qs + 32 * (group / 8) + 16 * (group % 2);
        const int shift = 2 * (group / 2 % 4);
        const std::uint8_t* hmask = block.hmask + 16 * (group % 2);
        const int high_bit = group / 2;
        for (int j = 0; j < 16; ++j) {
            const int q = (qs[j] >> shift & 3) | (hmask[j] >> high_bit & 1) << 2;
            y[16 * group + j] = scale * static_cast<float>(q - 4);
        }
    }
}

void decode_block(const BlockQ4K& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    const float dmin = f16_to_f32(block.dmin);
    const ScalesAndMins scales = unpack_scales(block.scales);
    for (int group = 0; group < 8; ++group) {
        const float scale = d * static_cast<float>(scales.scale[group]);
        const float min = dmin * static_cast<float>(scales.min[group]);
        const std::uint8_t* qs = block.qs + 32 * (group / 2);
        const int shift = 4 * (group % 2);
        for (int j = 0; j < 32; ++j)
            y[32 * group + j] = scale * static_cast<float>(qs[j] >> shift & 0xf) - min;
    }
}

void decode_block(const BlockQ5K& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    const float dmin = f16_to_f32(block.dmin);
    const ScalesAndMins scales = unpack_scales(block.scales);
    for (int group = 0; group < 8; ++group) {
        const float scale = d * static_cast<float>(scales.scale[group]);
        const float min = dmin * static_cast<float>(scales.min[group]);
        const std::uint8_t* qs = block.qs + 32 * (group / 2);
        const int shift = 4 * (group % 2);
        for (int j = 0; j < 32; ++j) {
            const int q = (qs[j] >> shift & 0xf) | (block.qh[j] >> group & 1) << 4;
            y[32 * group + j] = scale * static_cast<float>(q) - min;
        }
    }
}

void decode_block(const BlockQ6K& block, float* y) noexcept {
    const float d = f16_to_f32(block.d);
    for (int group = 0; group < 16; ++group) {
        const float scale = d * static_cast<float>(block.scales[group]);
        const int half = group / 8;  // of the super-block; 64 bytes of ql and 32 of qh each
        const int run = group % 8;   // of 16 values within the half
        const std::uint8_t* ql = block.ql + 64 * half + 16 * (run % 4);
        const int low_shift = 4 * (run / 4);
        const std::uint8_t* qh = block.qh + 32 * half + 16 * (run % 2);
        const int high_shift = 2 * (run / 2);
        for (int j = 0; j < 16; ++j) {
            const int q = (ql[j] >> low_shift & 0xf) | (qh[j] >> high_shift & 3) << 4;
            y[16 * group + j] = scale * static_cast<float>(q - 32);
        }
    }
}

void decode_block(const BlockQ8K& block, float* y) noexcept {
    for (int j = 0; j < 256; ++j) y[j] = block.d * static_cast<float>(block.qs[j]);
}

}  // namespace greenroom::quant
