#pragma once

// Multi-head latent attention on the GPU, absorbed: the formula and shapes are those of cpu/attention.h.
// Launchers only enqueue; views are of device memory.

#include "quant/base/kv_rows.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;
struct StepState;

// Largest latent_dim, and largest row_dim() (16 queries of it fit into 48 KiB of shared memory).
inline constexpr int kMaxLatentDim = 512;
inline constexpr int kMaxLatentRowDim = 592;

// Floats of scratch that mla_attention() needs for up to n_tokens tokens and max_positions positions.
std::int64_t mla_scratch_floats(const MlaShape& shape, std::int64_t n_tokens,
                                std::int64_t max_positions) noexcept;

// All heads share the cached rows, whose first latent_dim values are key and value at once:
//   score[s] = scale · q[t][h] · cache[s],  s <= step->first_position + t
//   out[t][h] = Σ_s softmax(score)[s] · cache[s][:latent_dim]
// q: [n_tokens, n_heads · row_dim]; cache: rows of row_dim, of any KV type; out: [n_tokens, n_heads ·
// latent_dim]. visible: empty, or n_visible positions per token, rising, ending with -1 where a token has
// fewer: only these are seen (indexer.h writes them). step, max_positions, scratch: as in attention.h.
void mla_attention(Stream& stream, MatrixView out, ConstMatrixView q, const KvRows& cache,
                   const StepState* step, std::int64_t max_positions, const MlaShape& shape,
                   std::span<const std::int32_t> visible, std::int64_t n_visible, std::span<float> scratch);

}  // namespace greenroom::gpu
