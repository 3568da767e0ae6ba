#pragma once

// Attention with grouped queries on the GPU: the formula and shapes are those of cpu/attention.h. Launchers
// only enqueue; views are of device memory.

#include "quant/base/kv_rows.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;
struct StepState;

// Largest head_dim and value_dim.
inline constexpr int kMaxHeadDim = 256;

// Floats of scratch that gqa_attention() needs for up to n_tokens tokens and max_positions positions.
std::int64_t gqa_scratch_floats(const GqaShape& shape, std::int64_t n_tokens,
                                std::int64_t max_positions) noexcept;

// Head h reads key and value of kv head h / (n_heads / n_kv_heads):
//   score[s] = scale · q[t][h] · key[s],  shape.first_visible(p) <= s <= p = step->first_position + t
//   out[t][h] = Σ_s e^score[s] · value[s] / (Σ_s e^score[s] + e^sinks[h]);  sinks: n_heads values, or empty
// q: [n_tokens, n_heads · head_dim]; keys, values: those of all visible positions filled, of any KV type,
// heads beginning at whole blocks; out: [n_tokens, n_heads · value_dim]. step: device memory, read when the
// kernels run; max_positions: at least step->first_position + n_tokens then. What lies between costs blocks
// that end at once. scratch: gqa_scratch_floats().
void gqa_attention(Stream& stream, MatrixView out, ConstMatrixView q, const KvRows& keys,
                   const KvRows& values, const StepState* step, std::int64_t max_positions,
                   const GqaShape& shape, std::span<const float> sinks, std::span<float> scratch);

}  // namespace greenroom::gpu
