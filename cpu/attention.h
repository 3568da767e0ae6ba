#pragma once

// Attention over a KV cache of any of its types in one pass over the rows (Dao et al. 2022,
// arXiv:2205.14135): a block of 64 positions meets up to 64 queries, their scores become weights against the
// largest so far, and what has been summed up is scaled down when a larger one comes. Rows are decoded to
// float32. Where the ISA has kernels for it, those of F16 and BF16 become floats in registers, with the same
// bits (attention_half.h), and those of Q8_0 and Q4_0 are multiplied as they are, with integers of 15 bits
// (attention_quant.h).
//
// Blocks, and the segments of 256 positions that threads may share out, begin at fixed positions and are
// summed up in their order: a result is the same for any batching, number of threads and ring size. Scratch
// per thread: attention_scratch_floats().

#include "cpu/buffer.h"
#include "cpu/parallel.h"
#include "quant/base/kv_rows.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <cstdint>
#include <span>

namespace greenroom::cpu {

// For cached rows of which a head reads up to max_row values, and any number of positions.
std::int64_t attention_scratch_floats(std::int64_t max_row) noexcept;

// Multi-head latent attention in its absorbed form (arXiv:2405.04434, section 2.1.2; absorption: same paper,
// end of the section): all heads share the cached rows, whose first latent_dim values are key and value at
// once.
//   score[s] = scale · q[t][h] · cache[s],  s <= first_position + t;   out[t][h] = Σ_s softmax(score)[s] ·
//   cache[s][:latent_dim]
// q: [n_tokens, n_heads · row_dim]; cache: rows of row_dim, those up to the last token's position filled;
// out: [n_tokens, n_heads · latent_dim].
// visible: empty, or n_visible positions per token, rising, ending with -1 where a token has fewer: only
// these are seen (sparse attention; see indexer.h).
void mla_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   const KvRows& cache, std::int64_t first_position, const MlaShape& shape,
                   std::span<const std::int32_t> visible = {}, std::int64_t n_visible = 0);

// Attention with grouped queries: head h reads key and value of kv head h / (n_heads / n_kv_heads).
//   score[s] = scale · q[t][h] · key[s],  shape.first_visible(p) <= s <= p = first_position + t
//   out[t][h] = Σ_s e^score[s] · value[s] / (Σ_s e^score[s] + e^sinks[h])
// The last term is there only if sinks (n_heads values, or empty) are given: a place for attention to go to
// that adds nothing (gpt-oss; Xiao et al. 2023, arXiv:2309.17453). q: [n_tokens, n_heads · head_dim]; keys,
// values: those of all visible positions filled; out: [n_tokens, n_heads · value_dim].
void gqa_attention(ThreadTeam& team, const Scratch& scratch, MatrixView out, ConstMatrixView q,
                   const KvRows& keys, const KvRows& values, std::int64_t first_position,
                   const GqaShape& shape, std::span<const float> sinks);

}  // namespace greenroom::cpu
