#pragma once

// The table of SIMD kernels: one function pointer per operation, filled once for the CPU (see isa.h). Choose
// outside the loop: `const Kernels& k = kernels();`. Those of the quantized types, one set per format, are in
// dot_quant.h. All may be called by several threads at once. Pointers
// need no alignment.

#include "cpu/isa.h"
#include "quant/base/op_params.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

struct ActivationBlock;
struct DeltaSteps;

// How many vectors the _x4 kernels take.
inline constexpr int kVectors = 4;

struct Kernels {
    // Whose kernels these are; find_quant_dot() takes it for those of the quantized types.
    Isa isa;

    // Σ_i a[i]·b[i].  The order of summation depends on the ISA and n only.
    float (*dot_f32)(const float* a, const float* b, std::int64_t n) noexcept;

    // The same with a row of F16 or BF16 as it stands in memory: bit for bit dot_f32 of the decoded row.
    float (*dot_f16)(const std::byte* a, const float* b, std::int64_t n) noexcept;
    float (*dot_bf16)(const std::byte* a, const float* b, std::int64_t n) noexcept;

    // out[j] = Σ_i a[i]·b[j][i] for j < 4: one row of weights against four tokens, each summed exactly as
    // dot_f32 does, so that a token's result does not depend on its neighbours.
    void (*dot_f32_x4)(const float* a, const float* const* b, std::int64_t n, float* out) noexcept;

    // y[i] += s·x[i].
    void (*axpy_f32)(float* y, float s, const float* x, std::int64_t n) noexcept;

    // y[i] += s[j]·x[j][i] for j = 0, 1, 2, 3 in this order: bit for bit four calls of axpy_f32, with one
    // pass over y.
    void (*axpy_f32_x4)(float* y, const float* s, const float* const* x, std::int64_t n) noexcept;

    // One row of activations to integers, see quantize.h. The same bits on every ISA.
    void (*quantize_row)(ActivationBlock* blocks, const float* x, std::int64_t n_values) noexcept;

    // out[i] = join_glu(kind, gate[i], up[i]), see activation.h; out may be gate or up. What a value gives
    // depends neither on n nor on its place. Within a few units in the last place of the reference.
    void (*glu)(Glu kind, float* out, const float* gate, const float* up, std::int64_t n) noexcept;

    // out[i] = x[i] / sqrt(mean of x² + eps) · weight[i], without weights where there are none (nullptr); out
    // may be x. The same bits on every ISA.
    void (*rms_norm)(float* out, const float* x, const float* weight, float eps, std::int64_t n) noexcept;

    // See delta_steps.h. What a row of the state gives depends neither on the other rows nor on how many
    // tokens come at once.
    void (*delta_steps)(const DeltaSteps& steps) noexcept;
};

// The table of the selected ISA (select_isa(), evaluated at the first call; may throw what that throws).
const Kernels& kernels();

// The table of one ISA, for tests and benchmarks; the CPU must have it.
const Kernels& kernels(Isa isa) noexcept;

}  // namespace greenroom::cpu
