#pragma once

// One product of a layer's experts, for all hits: what expert_ffn.cu asks of the kernels that compute them,
// and what these do with a finished dot product.

#include "gpu/device.cuh"
#include "gpu/kernels/calls.h"
#include "gpu/kernels/glu.cuh"
#include "gpu/kernels/half_rows.h"
#include "gpu/kernels/quantize.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"
#include "quant/types.h"

namespace greenroom::gpu {

struct ExpertProduct {
    enum class Result {
        plain,        // out[c][r] = first
        joined,       // out[c][r] = glu(first, second): row r of two matrices
        join_second,  // out[c][r] = glu(out[c][r], second)
    };

    Result result = Result::plain;
    Glu glu = Glu::silu;
    // Rows of the one matrix, or the two: bytes from the slot's beginning.
    std::int64_t first_offset = 0;
    std::int64_t second_offset = 0;  // joined only
    std::int64_t row_bytes = 0;
    std::int64_t n_rows = 0;
    std::int64_t n_values = 0;
    const float* first_bias = nullptr;  // [n_experts, n_rows], or nullptr
    const float* second_bias = nullptr;
    const float* factors = nullptr;     // of every call, or nullptr
    std::int64_t calls_per_vector = 1;  // call c multiplies vector c / calls_per_vector
    MatrixView out;                     // a row per call
};

// A product, in the form that its kernels take: which of the vectors they use depends on the type.
struct ExpertLaunch {
    ExpertProduct product;
    HitGroups hits;
    quant::Type type = quant::Type::F32;
    std::int64_t n_groups = 0;         // at most
    std::int64_t calls_per_group = 0;  // at most
    ActivationRows integers;
    HalfRows halves;
    ConstMatrixView floats;
};

// Two rows at a time for up to eight calls, as in matvec.cu.
bool launch_expert_rows_integer(Stream& stream, const ExpertLaunch& launch);
bool launch_expert_rows_float(Stream& stream, const ExpertLaunch& launch);
// 64 rows and 64 calls at a time, as in gemm.cu.
bool launch_expert_tiles_half(Stream& stream, const ExpertLaunch& launch);
bool launch_expert_tiles_float(Stream& stream, const ExpertLaunch& launch);

// Row r for this call: first and second are the dot products that the Result asks for.
GR_DEVICE void put_result(const ExpertProduct& p, std::int64_t expert, std::int64_t call, std::int64_t r,
                          float first, float second) {
    // A product is linear, so the input's factor may as well multiply the result.
    const float factor = p.factors == nullptr ? 1.0F : p.factors[call];
    float& out = row_of(p.out, call)[r];
    first *= factor;
    second *= factor;
    if (p.first_bias != nullptr) first += p.first_bias[expert * p.n_rows + r];
    if (p.second_bias != nullptr) second += p.second_bias[expert * p.n_rows + r];
    if (p.result == ExpertProduct::Result::plain)
        out = first;
    else
        out = join_glu(p.glu, p.result == ExpertProduct::Result::joined ? first : out, second);
}

}  // namespace greenroom::gpu
