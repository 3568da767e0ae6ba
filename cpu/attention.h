#pragma once

// Attention over a KV cache, float32, softmax in float32 with the maximum taken out first.

#include "cpu/buffer.h"
#include "cpu/parallel.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <cstdint>
#include <span>

namespace greenroom::cpu {

// Multi-head latent attention in its absorbed form (arXiv:2405.04434, section 2.1.2; absorption: same paper,
// end of the section): all heads share the cached rows, whose first latent_dim values are key and value at
// once.
//   score[s] = scale · q[t][h] · cache[s],  s <= first_position + t;   out[t][h] = Σ_s softmax(score)[s] ·
//   cache[s][:latent_dim]
// q: [n_tokens, n_heads · row_dim]; cache: rows of row_dim, those up to the last token's position filled;
// out: [n_tokens, n_heads · latent_dim]. Scratch: one float per cached row, per thread.
// The order of summation is that of the positions: the same for any batching and number of threads.
void mla_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   ConstMatrixView cache, std::int64_t first_position, const MlaShape& shape);

// Attention with grouped queries: head h reads key and value of kv head h / (n_heads / n_kv_heads).
//   score[s] = scale · q[t][h] · key[s],  shape.first_visible(p) <= s <= p = first_position + t
//   out[t][h] = Σ_s e^score[s] · value[s] / (Σ_s e^score[s] + e^sinks[h])
// The last term is there only if sinks (n_heads values, or empty) are given: a place for attention to go to
// that adds nothing (gpt-oss; Xiao et al. 2023, arXiv:2309.17453). q: [n_tokens, n_heads · head_dim]; cache:
// rows of keys and values, those up to the last position filled; out: [n_tokens, n_heads · value_dim].
// Scratch and order of summation as above.
void gqa_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   ConstMatrixView cache, std::int64_t first_position, const GqaShape& shape,
                   std::span<const float> sinks);

}  // namespace greenroom::cpu
