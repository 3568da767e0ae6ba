#pragma once

// ExpertScheduler: runs the routed experts of one layer for a batch of tokens. Groups the tokens by expert,
// so that each expert that is called is read once, and adds the results. All experts are in RAM (the mapped
// file) and run on the CPU.
//
// One per session, on the thread that evaluates. Reserves everything in the constructor.

#include "cpu/buffer.h"
#include "cpu/expert_ffn.h"
#include "cpu/ops.h"
#include "quant/base/matrix_view.h"
#include "runtime/model_spec.h"
#include "runtime/weights.h"

#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::runtime {

class ExpertScheduler {
  public:
    // spec, weights and ops must outlive it.
    ExpertScheduler(const ModelSpec& spec, const Weights& weights, cpu::Ops& ops, std::int64_t batch_tokens);

    // out[t] += Σ_k factors[t·top_k + k] · expert experts[t·top_k + k] applied to x[t], for a layer that is
    // MoE.
    void run(int layer, MatrixView out, ConstMatrixView x, std::span<const std::int32_t> experts,
             std::span<const float> factors);

    // Bytes that the constructor reserves.
    static std::int64_t working_bytes(const ModelSpec& spec, std::int64_t batch_tokens) noexcept;

  private:
    void group_calls(const MoeFfnWeights& weights, int n_experts, std::span<const std::int32_t> experts);

    const ModelSpec& spec_;
    const Weights& weights_;
    cpu::Ops& ops_;
    cpu::Buffer results_;              // a row of d_model per call
    cpu::Buffer hidden_;               // a row of d_ff per call
    std::vector<std::int32_t> calls_;  // call numbers, grouped by expert
    std::vector<std::int32_t> ends_;   // where each expert's group ends
    std::vector<cpu::ExpertTask> tasks_;
};

}  // namespace greenroom::runtime
