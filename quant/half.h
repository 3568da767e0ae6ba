#pragma once

// The small floating-point formats of ggml tensors, converted to and from float32 one value at a time.
//
// Plain integer arithmetic on the bits, so that every machine gives the same result: no F16C, and no reliance
// on denormal float32 numbers being honoured. Correct for every input, tested over all of them. Everything is
// constexpr, noexcept and free of state.

#include <bit>
#include <cstdint>

namespace greenroom::quant {

// IEEE 754 binary16: 1 sign, 5 exponent (bias 15), 10 mantissa bits. Exact. A NaN keeps its payload and comes
// out quiet, as vcvtph2ps does it.
constexpr float f16_to_f32(std::uint16_t half) noexcept {
    const std::uint32_t sign = (half & 0x8000u) << 16;
    const std::uint32_t exponent = (half >> 10) & 0x1fu;
    const std::uint32_t mantissa = half & 0x3ffu;
    if (exponent == 0) {  // zero and the subnormal numbers: mantissa · 2^-24, which float32 holds exactly
        const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
        return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
    }
    if (exponent == 31) {
        const std::uint32_t quiet = mantissa == 0 ? 0u : 0x00400000u;
        return std::bit_cast<float>(sign | 0x7f800000u | quiet | (mantissa << 13));
    }
    return std::bit_cast<float>(sign | ((exponent + 127 - 15) << 23) | (mantissa << 13));
}

// Rounds to nearest, ties to even; from 65520 on to infinity. Every NaN becomes the quiet NaN 0x7e00 with its
// sign, as ggml stores it.
constexpr std::uint16_t f32_to_f16(float value) noexcept {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    const std::uint32_t sign = (bits >> 16) & 0x8000u;
    const std::uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
    if (magnitude >= 0x47800000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // 65536 and above
    if (magnitude < 0x38800000u) {
        // Below 2^-14 the result is a multiple of 2^-24, which is the spacing of float32 at 0.5: adding 0.5
        // lets the addition do the rounding, and leaves the multiple in the low mantissa bits.
        const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
        return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000u));
    }
    // 13 mantissa bits go. Adding just under half of their range, plus the lowest bit that stays, rounds ties
    // to even; a carry runs into the exponent, which is right, up to infinity.
    const std::uint32_t odd = (magnitude >> 13) & 1u;
    const std::uint32_t rebiased = magnitude - ((127u - 15u) << 23);
    return static_cast<std::uint16_t>(sign | ((rebiased + 0x0fffu + odd) >> 13));
}

// bfloat16: the upper half of a float32. Exact.
constexpr float bf16_to_f32(std::uint16_t brain) noexcept {
    return std::bit_cast<float>(static_cast<std::uint32_t>(brain) << 16);
}

// Rounds to nearest, ties to even. A NaN keeps its upper payload bits and is made quiet, as ggml does it, so
// that one whose payload sits in the lower half doesn't turn into infinity.
constexpr std::uint16_t f32_to_bf16(float value) noexcept {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x0040u);
    return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

// Half of an E8M0 scale (OCP microscaling formats 1.0, 5.4.1): 2^(e - 127) / 2. Halved because the E2M1
// values are tabulated doubled, as integers. OCP keeps e = 255 for NaN; ggml reads it as the next power of
// two, and so does this, since the values of a file must not depend on who reads it.
constexpr float e8m0_half_to_f32(std::uint8_t e) noexcept {
    // 2^-128 and 2^-127 lie below the normal range of float32.
    const std::uint32_t bits = e < 2 ? 0x00200000u << e : static_cast<std::uint32_t>(e - 1) << 23;
    return std::bit_cast<float>(bits);
}

// Half of an unsigned E4M3 scale (4 exponent bits, bias 7, 3 mantissa bits; no infinity), halved for the same
// reason. Bit 7 isn't part of the number. 0x7f, NaN in E4M3, counts as 0, as in ggml.
constexpr float ue4m3_half_to_f32(std::uint8_t e) noexcept {
    if (e == 0x7f) return 0.0f;
    const std::uint32_t exponent = (e >> 3) & 0xfu;
    const std::uint32_t mantissa = e & 0x7u;
    if (exponent == 0) return static_cast<float>(mantissa) * 0x1p-10f;
    return std::bit_cast<float>(((exponent + 127 - 7 - 1) << 23) | (mantissa << 20));
}

}  // namespace greenroom::quant
