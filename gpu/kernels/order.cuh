#pragma once

// Floats as unsigned integers in the same order, for selections by parts of their bits.

#include "gpu/device.cuh"

#include <cstdint>

namespace greenroom::gpu {

// Larger for larger values, equal for equal ones (both zeros too); 0, below −∞, for NaN, which has no place
// in an order.
GR_HD std::uint32_t order_key(float value) {
    const auto bits = bits_as<std::uint32_t>(value);
    const std::uint32_t magnitude = bits & 0x7fffffffU;
    if (magnitude > 0x7f800000U) return 0;
    if (magnitude == 0) return 0x80000000U;
    return (bits >> 31) != 0 ? ~bits : bits | 0x80000000U;
}

// The value again; NaN for 0.
GR_HD float order_value(std::uint32_t key) {
    if (key == 0) return bits_as<float>(0x7fc00000U);
    return bits_as<float>((key & 0x80000000U) != 0 ? key & 0x7fffffffU : ~key);
}

}  // namespace greenroom::gpu
