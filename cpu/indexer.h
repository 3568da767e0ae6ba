#pragma once

// The lightning indexer of DeepSeek Sparse Attention (DeepSeek-V3.2, arXiv:2512.02556, section 2.1, eq. 1):
// a few light heads say which earlier positions attention is to see.

#include "cpu/buffer.h"
#include "cpu/parallel.h"
#include "quant/base/kv_rows.h"
#include "quant/base/matrix_view.h"

#include <cstdint>
#include <span>

namespace greenroom::cpu {

// Scratch per thread: for keys of head_dim values at up to max_positions positions.
std::int64_t indexer_scratch_floats(std::int64_t max_positions, std::int64_t head_dim) noexcept;

// score[s] = Σ_h weights[t][h] · max(0, q[t][h] · keys[s]),  s <= first_position + t
// visible[t]: the positions of the top_k highest scores, rising; of equal scores the earliest; -1 after the
// last where fewer than top_k positions are there.
// q: [n_tokens, n_heads · head_dim]; weights: [n_tokens, n_heads]; keys: rows of head_dim, those up to the
// last position filled; visible: [n_tokens, top_k]. Scratch: indexer_scratch_floats(). Scores are those of
// attention's kernels: with keys of Q8_0 and Q4_0 the queries are integers of 15 bits (attention_quant.h).
void index_positions(ThreadTeam& team, const Scratch& scratch, std::span<std::int32_t> visible,
                     ConstMatrixView q, ConstMatrixView weights, const KvRows& keys,
                     std::int64_t first_position, std::int64_t top_k);

}  // namespace greenroom::cpu
