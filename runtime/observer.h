#pragma once

// ForwardObserver: sees what passes through a forward pass, for dumps, traces and tests. Slows the pass by
// what it does itself; called on the thread that evaluates.

#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <cstdint>
#include <span>

namespace greenroom::runtime {

// What the router of a MoE layer chose for the tokens of a batch, and from what.
struct RouterChoice {
    int layer = 0;                    // counts all layers of the model
    std::int64_t first_position = 0;  // of the batch's first token
    const RouterRule& rule;
    // top_k of each token, in order of falling selection score, and the factors by which their outputs are
    // multiplied (normalised and scaled).
    std::span<const std::int32_t> experts;
    std::span<const float> weights;
    ConstMatrixView logits;  // [n_tokens, n_experts], biases of the router's matrix included
};

// What a MoE layer's router would choose if it saw the state that an earlier layer's router has seen (with
// that layer's shared experts added): a guess made that much earlier.
struct RouterGuess {
    int layer = 0;     // whose choice is guessed
    int distance = 1;  // MoE layers from where the state was taken
    std::int64_t first_position = 0;
    const RouterRule& rule;
    std::span<const std::int32_t> experts;  // top_k of each token, the likeliest first
};

class ForwardObserver {
  public:
    virtual ~ForwardObserver() = default;

    // The residual stream [n_tokens, d_model] of the tokens from first_position on: layer -1 is the
    // embedding's output (before a multiplier), layer i what block i leaves (before the final norm).
    virtual void on_hidden(int layer, std::int64_t first_position, ConstMatrixView hidden) = 0;

    virtual void on_router(const RouterChoice& choice) = 0;

    // How many MoE layers ahead it wants to have guessed; each costs as much as a router.
    virtual int n_guesses() const { return 0; }
    virtual void on_guess(const RouterGuess& /*guess*/) {}
};

}  // namespace greenroom::runtime
