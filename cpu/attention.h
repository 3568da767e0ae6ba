#pragma once

// Attention over a KV cache, float32, softmax in float32 with the maximum taken out first.

#include "cpu/buffer.h"
#include "cpu/parallel.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <cstdint>

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

}  // namespace greenroom::cpu
