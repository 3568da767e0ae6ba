#pragma once

// Experts: what a forward pass asks of whoever runs the routed experts of a layer, stated once.
// ExpertScheduler satisfies it on the CPU; on the GPU HybridExperts and, in a captured graph, GraphedExperts.

#include "quant/base/matrix_view.h"
#include "runtime/observer.h"

#include <atomic>
#include <concepts>
#include <cstdint>
#include <span>

namespace greenroom::runtime {

// A layer's turn is begin(), any number of expect(), finish(). What they are given lies where the Ops work,
// and may have been enqueued only: Experts wait for what they look at. It stays as it is until finish()
// returns.
template <class T>
concept Experts = requires(T experts, int layer, ConstMatrixView x, std::span<const std::int32_t> ids,
                           std::span<const float> factors, std::int64_t n_tokens, const RouterGuess& guess,
                           MatrixView out, const std::atomic<bool>* cancelled) {
    // x: [n_tokens, d_model]; ids and factors: the router's choice, top_k of each token.
    experts.begin(layer, x, ids, factors);
    // How many MoE layers ahead guesses are of use for a batch of this size.
    { experts.n_guesses(n_tokens) } -> std::same_as<int>;
    experts.expect(guess);
    // out[t] += Σ_k factors[t · top_k + k] · expert ids[t · top_k + k] of x[t]. False: cancelled (may be
    // null) was found set. Error: an expert cannot be read.
    { experts.finish(out, cancelled) } -> std::same_as<bool>;
};

}  // namespace greenroom::runtime
