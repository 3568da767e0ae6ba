#pragma once

// Routed experts on the GPU: all calls of a layer whose expert has a slot in VRAM.
//
// calls.h says which those are and groups them by expert; as on the CPU (cpu/expert_ffn.h) each call's result
// is kept apart and added in the order of the ranks, so that a sum depends neither on the order in which
// experts are computed nor on the rest of the batch. How many calls an expert has is known to the device
// only: grids have room for the worst case, and what is not needed ends at once. So a captured graph can be
// launched again with other choices of the router.
//
// Two ways: for few calls per expert the products are those of matvec.h (integers of two bytes, or float32),
// the expert's weights read once per 8 calls; for many those of gemm.h (half floats on tensor cores, or
// float32). The batch decides, by its number of calls and of experts.

#include "gpu/kernels/calls.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"
#include "quant/types.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;

// A matrix of an expert, in native blocks, so many bytes from the beginning of every slot. That beginning is
// a multiple of 16, and the offset one of the size of a type's block as far as that is a power of two up
// to 16.
struct ExpertMatrix {
    quant::Type type = quant::Type::F32;
    std::int64_t offset = 0;
};

// A layer's experts.
struct ExpertLayer {
    std::int64_t n_experts = 0;
    std::int64_t top_k = 0;
    std::int64_t d_model = 0;
    std::int64_t d_ff = 0;
    Glu glu = Glu::silu;
    ExpertMatrix gate;  // [d_ff rows, d_model]
    ExpertMatrix up;    // [d_ff rows, d_model]
    ExpertMatrix down;  // [d_model rows, d_ff]
    // Added to the three products where the model has them (gpt-oss): n_experts rows of d_ff, d_ff and
    // d_model floats, or nullptr.
    const float* gate_bias = nullptr;
    const float* up_bias = nullptr;
    const float* down_bias = nullptr;
};

// Bytes of scratch for batches of up to n_tokens.
std::int64_t expert_scratch_bytes(const ExpertLayer& layer, Activations activations,
                                  std::int64_t n_tokens) noexcept;

// results[c] = down · glu(gate · x[t], up · x[t]) for every hit c = (t, rank); the rows of misses are left as
// they are. Where input_factors (one per call, or empty) are given, x[t] is multiplied by input_factors[c]
// first (Llama 4). x: [n_tokens, d_model]; hidden: [n_tokens · top_k, d_ff], overwritten; results: [n_tokens
// · top_k, d_model]. hits: as split_calls() wrote it. scratch: expert_scratch_bytes() at a multiple of 16.
// Everything in device memory; only enqueues.
void run_experts(Stream& stream, MatrixView results, MatrixView hidden, ConstMatrixView x,
                 const ExpertLayer& layer, const HitGroups& hits, std::span<const float> input_factors,
                 Activations activations, std::span<std::byte> scratch);

// out[t] += Σ_k weights[t · top_k + k] · results[t · top_k + k] over the hits, k rising; without weights
// (empty) the plain sum. experts: of every call; slots: of the layer's experts, nullptr where there is none:
// as for split_calls().
void add_weighted(Stream& stream, MatrixView out, ConstMatrixView results, std::span<const float> weights,
                  std::span<const std::int32_t> experts, std::span<const std::byte* const> slots,
                  std::int64_t top_k);

}  // namespace greenroom::gpu
