#pragma once

// The kernels of Kernels::glu. AVX2 and AVX-512 give the same bits (exp_simd.h), and a value's result depends
// neither on n nor on its place.

#include "quant/base/op_params.h"

#include <cstdint>

namespace greenroom::cpu {

void glu_scalar(Glu kind, float* out, const float* gate, const float* up, std::int64_t n) noexcept;
void glu_avx2(Glu kind, float* out, const float* gate, const float* up, std::int64_t n) noexcept;
void glu_avx512(Glu kind, float* out, const float* gate, const float* up, std::int64_t n) noexcept;

}  // namespace greenroom::cpu
