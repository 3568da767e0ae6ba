#pragma once

// The router's choice on the GPU. calls.h says what is done with it.

#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;

inline constexpr int kMaxExperts = 512;
inline constexpr int kMaxExpertGroups = 256;

// Which experts each token calls and with which weights: the rule, its ties and its order are those of
// cpu/router.h. logits: [n_tokens, n_experts]; bias: of the selection, n_experts values or empty; experts and
// weights: [n_tokens · top_k], in order of falling selection. All in memory that the device can reach; only
// enqueues.
void route(Stream& stream, std::span<std::int32_t> experts, std::span<float> weights, ConstMatrixView logits,
           std::span<const float> bias, const RouterRule& rule);

}  // namespace greenroom::gpu
