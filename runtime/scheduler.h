#pragma once

// ExpertScheduler: runs the routed experts of one layer for a batch of tokens, where they are. Groups the
// tokens by expert, so that each expert that is called is read once; computes those that are in memory while
// the missing ones come from the SSD; adds the results in a fixed order, so that they do not depend on who
// was there.
//
//     begin(layer, …)    the router has chosen: hits are held, reads of misses begin
//     expect(guess)      what later layers may want is read when nobody waits for a read
//     finish(out, …)     computes what is there, then what arrives
//
// Between begin() and finish() the resident device has time for other things, such as the shared experts.
//
// One per session, on the thread that evaluates. Reserves everything in the constructor.

#include "cpu/buffer.h"
#include "cpu/expert_ffn.h"
#include "cpu/ops.h"
#include "quant/base/matrix_view.h"
#include "runtime/model_spec.h"
#include "runtime/observer.h"
#include "runtime/ram_tier.h"
#include "runtime/weights.h"

#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::runtime {

class ExpertScheduler {
  public:
    // spec, weights, ops and tier must outlive it. tier may be null for a model without MoE layers.
    ExpertScheduler(const ModelSpec& spec, const Weights& weights, cpu::Ops& ops, RamTier* tier,
                    std::int64_t batch_tokens);

    // x: [n_tokens, d_model]; experts: top_k of each token of the batch, for a layer that is MoE; kNotHere:
    // one that somebody else computes. All three are looked at until finish() returns.
    static constexpr std::int32_t kNotHere = -1;
    void begin(int layer, ConstMatrixView x, std::span<const std::int32_t> experts,
               std::span<const float> factors);

    // How many layers ahead guesses are of use for this many tokens; 0 where all experts are in memory, and
    // for batches that will want nearly all of a layer anyway.
    int n_guesses(std::int64_t n_tokens) const noexcept;
    void expect(const RouterGuess& guess);

    // out[t] += Σ_k factors[t · top_k + k] · expert experts[t · top_k + k] applied to x[t]. False, with out
    // unchanged, when *cancelled (may be null) was found set while there was nothing to do but wait. Error:
    // that of a read that failed; nothing is held any more, and everything can go on with the next begin().
    bool finish(MatrixView out, const std::atomic<bool>* cancelled);

    // Bytes that the constructor reserves.
    static std::int64_t working_bytes(const ModelSpec& spec, std::int64_t batch_tokens) noexcept;

  private:
    // An expert that is called, with its calls; in order of its number.
    struct Called {
        std::int32_t expert = 0;
        std::span<const std::int32_t> calls;
    };

    const MoeFfnSpec& layer_spec() const;
    const MoeFfnWeights& layer_weights() const;
    bool wants_whole_layers(std::int64_t n_tokens) const noexcept;
    void group_calls(int n_experts);
    void tell_policy(int top_k);
    void take_token(std::span<const std::int32_t> experts, std::span<const float> factors);
    void count_foreseen();
    void demand(std::int32_t place);
    void retry_refused();
    std::size_t guess_row(int distance, int ordinal) const noexcept;
    cache::ExpertId id_of(std::int32_t place) const {
        return {ordinal_, called_[static_cast<std::size_t>(place)].expert};
    }
    MatrixView layer_results() const noexcept;
    void compute(std::span<const std::int32_t> ready);
    bool compute_as_they_come(const std::atomic<bool>* cancelled);
    void let_go();

    const ModelSpec& spec_;
    const Weights& weights_;
    cpu::Ops& ops_;
    RamTier* tier_;
    cpu::Buffer results_;  // a row of d_model per call
    cpu::Buffer hidden_;   // a row of d_ff per call

    // Of the layer in hand.
    int layer_ = 0;
    int ordinal_ = 0;  // its number among the MoE layers
    ConstMatrixView x_;
    std::span<const std::int32_t> experts_;
    std::span<const float> factors_;
    std::int64_t first_step_ = 0;      // of the batch
    std::vector<std::int32_t> calls_;  // call numbers, grouped by expert
    std::vector<std::int32_t> ends_;   // where each expert's group ends
    std::vector<Called> called_;
    std::vector<std::int32_t> token_experts_;  // see take_token()
    std::vector<float> token_factors_;
    std::vector<std::int32_t> of_expert_;  // its place in called_
    std::vector<std::int32_t> ready_;      // places in called_: in memory, not yet computed
    std::vector<std::int32_t> refused_;    // no slot was to be had yet
    std::vector<cpu::ExpertTask> tasks_;
    bool holds_ = false;  // experts of the layer are demanded; not needed when all are in memory
    bool tokens_are_quantized_ = false;

    // The batch for which an expert was last guessed, by distance, ordinal and expert.
    std::vector<std::int64_t> guessed_at_;
};

}  // namespace greenroom::runtime
