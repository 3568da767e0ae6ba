#pragma once

// ForwardObserver: sees what passes through a forward pass, for dumps, traces and tests. Slows the pass by
// what it does itself; called on the thread that evaluates.

#include "quant/base/matrix_view.h"

#include <cstdint>
#include <span>

namespace greenroom::runtime {

class ForwardObserver {
  public:
    virtual ~ForwardObserver() = default;

    // The residual stream [n_tokens, d_model] of the tokens from first_position on: layer -1 is the
    // embedding's output (before a multiplier), layer i what block i leaves (before the final norm).
    virtual void on_hidden(int layer, std::int64_t first_position, ConstMatrixView hidden) = 0;

    // A MoE layer's choice: top_k expert ids of each token in order of falling selection score, and the
    // factors by which their outputs are multiplied (normalised and scaled).
    virtual void on_router(int layer, std::int64_t first_position, int top_k,
                           std::span<const std::int32_t> experts, std::span<const float> weights) = 0;
};

}  // namespace greenroom::runtime
