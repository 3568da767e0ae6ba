#pragma once

// Routed experts on the CPU: a batch of experts, each for the tokens that called it.
//
// A call is one (token, rank) pair: token t's expert of rank k has number t · top_k + k. Each call's result
// is kept apart and added in the order of the ranks, so that the sum does not depend on the order in which
// experts are computed, on the threads or on the rest of the batch.

#include "cpu/buffer.h"
#include "cpu/parallel.h"
#include "cpu/quantize.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"
#include "quant/base/tensor_view.h"

#include <cstdint>
#include <span>

namespace greenroom::cpu {

// One expert and the calls that it serves.
struct ExpertTask {
    TensorView gate;  // [d_ff rows, d_model]
    TensorView up;    // [d_ff rows, d_model]
    TensorView down;  // [d_model rows, d_ff]
    std::span<const std::int32_t> calls;
    // Added to the three products where the model has them (gpt-oss): d_ff, d_ff and d_model values, or
    // nullptr.
    const float* gate_bias = nullptr;
    const float* up_bias = nullptr;
    const float* down_bias = nullptr;
};

// results[c] = down · glu(gate · x[t], up · x[t]) for every call c = (t, k) of the tasks. Where input_factors
// (one per call, or empty) are given, x[t] is multiplied by input_factors[c] first (Llama 4). x: [n_tokens,
// d_model]; hidden: [n_tokens · top_k, d_ff], overwritten; results: [n_tokens · top_k, d_model], only the
// rows of the tasks' calls are written. Scratch: tile_floats(d_model) and tile_floats(d_ff) per thread.
// Products are those of matmul.h. With a buffer that is not empty the tokens are quantized once for all
// experts and the hidden rows once before the last product: it holds n_tokens · activation_blocks(d_model)
// and n_tokens · top_k · activation_blocks(d_ff) blocks, expert_activation_blocks() in all.
//
// A layer's experts may be run in several calls. `tokens` says whether the buffer still holds those of x from
// the call before.
enum class TokenRows { quantize, as_before };

void run_experts(ThreadTeam& team, const Scratch& scratch, const ActivationBuffer& buffer, MatrixView results,
                 MatrixView hidden, ConstMatrixView x, int top_k, Glu glu,
                 std::span<const float> input_factors, std::span<const ExpertTask> tasks,
                 TokenRows tokens = TokenRows::quantize);

inline std::int64_t expert_activation_blocks(std::int64_t n_tokens, std::int64_t d_model, std::int64_t top_k,
                                             std::int64_t d_ff) noexcept {
    return n_tokens * (activation_blocks(d_model) + top_k * activation_blocks(d_ff));
}

// out[t] += Σ_k weights[t · top_k + k] · results[t · top_k + k], k rising; without weights (empty) the plain
// sum.
void add_weighted(ThreadTeam& team, MatrixView out, ConstMatrixView results, std::span<const float> weights,
                  int top_k);

}  // namespace greenroom::cpu
