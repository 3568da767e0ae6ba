#pragma once

// Activation functions of one value, and the joining of a gated network's halves.

#include "quant/base/op_params.h"

#include <algorithm>
#include <cmath>

namespace greenroom::cpu {

inline float sigmoid(float v) noexcept { return 1.0F / (1.0F + std::exp(-v)); }

// v · sigmoid(v)  (Elfwing et al. 2017, arXiv:1702.03118).
inline float silu(float v) noexcept { return v / (1.0F + std::exp(-v)); }

// Constants of gpt-oss, fixed by the architecture.
inline constexpr float kSwigluLimit = 7.0F;
inline constexpr float kSwigluSlope = 1.702F;

inline float join_glu(Glu kind, float gate, float up) noexcept {
    if (kind == Glu::silu) return silu(gate) * up;
    gate = std::min(gate, kSwigluLimit);
    up = std::clamp(up, -kSwigluLimit, kSwigluLimit);
    return gate * sigmoid(kSwigluSlope * gate) * (up + 1.0F);
}

}  // namespace greenroom::cpu
