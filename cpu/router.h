#pragma once

// The router's choice: which experts a token calls and with which weights.

#include "cpu/buffer.h"
#include "cpu/parallel.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <cstdint>
#include <span>

namespace greenroom::cpu {

// For each token: score = softmax or sigmoid of its logits (or the logits, if the softmax is over the chosen
// only); selection = score + bias (DeepSeek-V3, arXiv:2412.19437, eq. 16; no bias where the span is empty);
// with groups, only the best groups' experts are candidates; the top_k highest selections are chosen, the
// lower index first where they are equal; weight = score of the chosen, divided by the sum of the chosen if
// the rule normalizes, times scale. logits: [n_tokens, n_experts]; experts and weights: [n_tokens · top_k],
// in order of falling selection. Scratch: 2 · n_experts per thread.
void route(ThreadTeam& team, const Scratch& scratch, std::span<std::int32_t> experts,
           std::span<float> weights, ConstMatrixView logits, std::span<const float> bias,
           const RouterRule& rule);

}  // namespace greenroom::cpu
