#pragma once

// Activation functions of one value.

#include <cmath>

namespace greenroom::cpu {

// v · sigmoid(v)  (Elfwing et al. 2017, arXiv:1702.03118).
inline float silu(float v) noexcept { return v / (1.0F + std::exp(-v)); }

}  // namespace greenroom::cpu
