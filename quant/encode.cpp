#include "quant/encode.h"

#include "quant/base/error.h"
#include "quant/encode_block.h"
#include "quant/half.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace greenroom::quant {
namespace {

void encode_f32(const float* values, std::byte* blocks, std::int64_t n_values) noexcept {
    std::copy_n(reinterpret_cast<const std::byte*>(values), n_values * 4, blocks);
}

template <std::uint16_t (*from_f32)(float)>
void encode_16_bit(const float* values, std::byte* blocks, std::int64_t n_values) noexcept {
    for (std::int64_t i = 0; i < n_values; ++i) {
        const std::uint16_t bits = from_f32(values[i]);
        std::memcpy(blocks + i * 2, &bits, sizeof bits);
    }
}

template <class Block>
void encode_blocks(const float* values, std::byte* blocks, std::int64_t n_values) noexcept {
    const std::int64_t n_blocks = n_values / Block::kValues;
    for (std::int64_t i = 0; i < n_blocks; ++i) {
        Block block;
        encode_block(values + i * Block::kValues, block);
        std::memcpy(blocks + i * static_cast<std::int64_t>(sizeof block), &block, sizeof block);
    }
}

// The first value of largest magnitude, with its sign; NaN if there is a NaN.
float signed_peak(const float* x, int n) noexcept {
    float peak = 0.0f;
    for (int j = 0; j < n; ++j) {
        if (std::isnan(x[j])) return x[j];
        if (std::fabs(x[j]) > std::fabs(peak)) peak = x[j];
    }
    return peak;
}

}  // namespace

EncodeFn find_encoder(Type type) noexcept {
    if (type == Type::F32) return encode_f32;
    if (type == Type::F16) return encode_16_bit<f32_to_f16>;
    if (type == Type::BF16) return encode_16_bit<f32_to_bf16>;
    if (type == Type::Q8_0) return encode_blocks<BlockQ8_0>;
    if (type == Type::Q8_K) return encode_blocks<BlockQ8K>;
    if (type == Type::Q4_0) return encode_blocks<BlockQ4_0>;
    if (type == Type::Q4_K) return encode_blocks<BlockQ4K>;
    return nullptr;
}

bool encodable(Type type) noexcept { return find_encoder(type) != nullptr; }

void encode_row(Type type, const float* values, std::byte* blocks, std::int64_t n_values) {
    const EncodeFn encode = find_encoder(type);
    GR_CHECK(encode != nullptr);
    GR_CHECK(n_values % type_info(type).block_values == 0);
    encode(values, blocks, n_values);
}

// d = peak / 127, q = x / d to the nearest integer. A tie goes to the even one, as vector conversions round,
// so that a SIMD version can give the same bytes.
void encode_block(const float* x, BlockQ8_0& block) noexcept {
    block = {};
    const float peak = std::fabs(signed_peak(x, BlockQ8_0::kValues));
    block.d = f32_to_f16(std::isfinite(peak) ? peak / 127.0f : std::numeric_limits<float>::quiet_NaN());
    const float inverse = 127.0f / peak;
    if (!std::isfinite(peak) || !std::isfinite(inverse)) return;  // also zero, and what is as good as zero
    for (int j = 0; j < BlockQ8_0::kValues; ++j)
        block.qs[j] = static_cast<std::int8_t>(std::nearbyint(x[j] * inverse));
}

// The value of largest magnitude becomes −127, whatever its sign, so d may be negative. The rest as in Q8_0.
void encode_block(const float* x, BlockQ8K& block) noexcept {
    block = {};
    const float peak = signed_peak(x, BlockQ8K::kValues);
    if (!std::isfinite(peak)) {
        block.d = std::numeric_limits<float>::quiet_NaN();
        return;
    }
    const float inverse = -127.0f / peak;
    if (!std::isfinite(inverse)) return;
    block.d = 1.0f / inverse;
    for (int j = 0; j < BlockQ8K::kValues; ++j) {
        block.qs[j] = static_cast<std::int8_t>(std::nearbyint(x[j] * inverse));
        block.bsums[j / 16] = static_cast<std::int16_t>(block.bsums[j / 16] + block.qs[j]);
    }
}

// The value of largest magnitude becomes q = 0, which stands for −8 and is the end of the range that reaches
// further, so d may be negative. A value as large with the other sign has to make do with 15, which stands
// for 7.
void encode_block(const float* x, BlockQ4_0& block) noexcept {
    constexpr int kZero = 8;
    const float peak = signed_peak(x, BlockQ4_0::kValues);
    const bool finite = std::isfinite(peak);
    const float d = peak / -8.0f;
    float inverse = 1.0f / d;
    if (!std::isfinite(inverse)) inverse = 0.0f;  // zero, and what is as good as zero
    block = {};
    block.d = f32_to_f16(finite ? d : std::numeric_limits<float>::quiet_NaN());
    if (!finite) return;
    const auto quantize = [inverse](float value) noexcept {
        return std::min(15, static_cast<int>(value * inverse + (kZero + 0.5f)));
    };
    for (int j = 0; j < 16; ++j)
        block.qs[j] = static_cast<std::uint8_t>(quantize(x[j]) | quantize(x[j + 16]) << 4);
}

}  // namespace greenroom::quant
