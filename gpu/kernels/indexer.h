#pragma once

// The lightning indexer of DeepSeek Sparse Attention on the GPU: the formula and the choice are those of
// cpu/indexer.h. Launchers only enqueue; all memory is the device's.

#include "quant/base/kv_rows.h"
#include "quant/base/matrix_view.h"

#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;
struct StepState;

// Largest head_dim.
inline constexpr int kMaxIndexDim = 256;

// Floats of scratch for n_tokens tokens and max_positions positions: all their scores.
std::int64_t indexer_scratch_floats(std::int64_t n_tokens, std::int64_t max_positions) noexcept;

// score[s] = Σ_h weights[t][h] · max(0, q[t][h] · keys[s]),  s <= step->first_position + t
// visible[t]: the positions of the top_k highest scores, rising; of equal scores the earliest; -1 after the
// last where fewer than top_k positions are there, so that a captured graph may list positions at all times.
// q: [n_tokens, n_heads · head_dim]; weights: [n_tokens, n_heads]; keys: rows of head_dim, those up to the
// last position filled; visible: [n_tokens, top_k]. step: read when the kernels run; max_positions: at least
// step->first_position + n_tokens then. scratch: indexer_scratch_floats().
void index_positions(Stream& stream, std::span<std::int32_t> visible, ConstMatrixView q,
                     ConstMatrixView weights, const KvRows& keys, const StepState* step,
                     std::int64_t max_positions, std::int64_t top_k, std::span<float> scratch);

}  // namespace greenroom::gpu
