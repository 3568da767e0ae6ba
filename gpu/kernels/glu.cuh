#pragma once

// How a gated network joins its halves, for one value of each: cpu/glu.h on the GPU.

#include "gpu/device.cuh"
#include "quant/base/op_params.h"

namespace greenroom::gpu {

// Constants of gpt-oss, fixed by the architecture.
constexpr float kSwigluLimit = 7.0F;
constexpr float kSwigluSlope = 1.702F;

// Comparisons, not fminf(), so that a NaN stays one.
GR_DEVICE float join_glu(Glu kind, float gate, float up) {
    if (kind == Glu::silu) return silu(gate) * up;
    gate = gate > kSwigluLimit ? kSwigluLimit : gate;
    up = up > kSwigluLimit ? kSwigluLimit : up < -kSwigluLimit ? -kSwigluLimit : up;
    return gate * sigmoid(kSwigluSlope * gate) * (up + 1.0F);
}

}  // namespace greenroom::gpu
