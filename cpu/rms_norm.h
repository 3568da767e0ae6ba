#pragma once

// The kernels of Kernels::rms_norm. Both give the same bits; longer vectors than those of AVX2 were no
// faster.

#include <cstdint>

namespace greenroom::cpu {

void rms_norm_scalar(float* out, const float* x, const float* weight, float eps, std::int64_t n) noexcept;
void rms_norm_avx2(float* out, const float* x, const float* weight, float eps, std::int64_t n) noexcept;

}  // namespace greenroom::cpu
