#pragma once

// CUDA's half as far as gpu/device.cuh needs it: 16 bits that are converted.

#include "quant/half.h"

#include <cuda_runtime.h>

struct __half {
    unsigned short bits;
};
using half = __half;

inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
inline unsigned short __half_as_ushort(__half value) { return value.bits; }
inline float __half2float(__half value) { return greenroom::quant::f16_to_f32(value.bits); }
inline __half __float2half_rn(float value) { return {greenroom::quant::f32_to_f16(value)}; }
inline __half __float2half(float value) { return __float2half_rn(value); }
