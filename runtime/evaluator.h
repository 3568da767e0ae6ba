#pragma once

// Evaluator: what carries out a session's forward passes, on whichever device. The one place where that is
// decided at run time: a virtual call per batch, none per operation. ForwardEvaluator runs a device's layers,
// with any Ops and Experts; the GPU's GraphedEvaluator has one. SplitEvaluator is the one that has two
// devices share them. Each owns all that a session needs to evaluate.
//
// One per session, used by one thread at a time, batch by batch under the engine's evaluation_mutex().
// Nothing is allocated after construction, except by CUDA for a captured graph.

#include "quant/base/matrix_view.h"
#include "runtime/forward.h"
#include "runtime/layer_range.h"
#include "runtime/memory_plan.h"
#include "runtime/model_spec.h"
#include "runtime/sequence_memory.h"
#include "runtime/session_options.h"
#include "runtime/weights.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

namespace greenroom::runtime {

class ForwardObserver;

class Evaluator {
  public:
    Evaluator() = default;
    virtual ~Evaluator() = default;
    Evaluator(const Evaluator&) = delete;
    Evaluator& operator=(const Evaluator&) = delete;

    // See Forward::run(): the tokens, at most a batch, follow those that are there, and belong to the
    // sequence if it returns true.
    virtual bool run(std::span<const std::int32_t> tokens, ForwardObserver* observer,
                     const std::atomic<bool>* cancelled) = 0;

    // The logits [n_rows, n_vocab] after the tokens first_row and on of the last batch, for the host to read
    // until the next call of run() or logits(). n_rows <= kLogitsRows.
    virtual ConstMatrixView logits(std::int64_t first_row, std::int64_t n_rows) = 0;

    // See SequenceMemory.
    virtual std::int64_t n_tokens() const noexcept = 0;
    virtual bool keeps_checkpoints() const noexcept = 0;
    virtual void save_checkpoint() = 0;
    virtual std::int64_t rewind(std::int64_t n_keep) = 0;
};

template <Ops T, Experts E>
class ForwardEvaluator final : public Evaluator {
  public:
    // layers: up to the output. spec and weights must outlive it; experts may use ops.
    ForwardEvaluator(const ModelSpec& spec, LayerRange layers, const Weights& weights,
                     const SessionPlan& plan, std::unique_ptr<T> ops, std::unique_ptr<E> experts)
        : n_vocab_(spec.n_vocab),
          ops_(std::move(ops)),
          experts_(std::move(experts)),
          forward_(spec, layers, weights, *ops_, *experts_, plan.batch_tokens),
          memory_(spec, layers, plan.kv_types, plan.layout, plan.n_checkpoints, *ops_),
          logits_(ops_->allocate(kLogitsRows * spec.n_vocab)) {}

    bool run(std::span<const std::int32_t> tokens, ForwardObserver* observer,
             const std::atomic<bool>* cancelled) override {
        return run(tokens, {}, observer, cancelled);
    }
    // Where the layers do not begin with 0: after those before. See Forward::run().
    bool run(std::span<const std::int32_t> tokens, ConstMatrixView before, ForwardObserver* observer,
             const std::atomic<bool>* cancelled) {
        if (!forward_.run(tokens, before, memory_, observer, cancelled)) return false;
        memory_.commit(static_cast<std::int64_t>(tokens.size()));
        return true;
    }

    ConstMatrixView logits(std::int64_t first_row, std::int64_t n_rows) override {
        const MatrixView rows{logits_.data(), n_rows, n_vocab_, n_vocab_};
        forward_.head(rows, first_row);
        return ops_->read_back(rows);
    }

    std::int64_t n_tokens() const noexcept override { return memory_.n_tokens(); }
    bool keeps_checkpoints() const noexcept override { return memory_.keeps_checkpoints(); }
    void save_checkpoint() override { memory_.save_checkpoint(); }
    std::int64_t rewind(std::int64_t n_keep) override { return memory_.rewind(n_keep); }

    // For an evaluator that has batches of some kind go another way, through the same memory.
    T& ops() noexcept { return *ops_; }
    E& experts() noexcept { return *experts_; }
    SequenceMemory<T>& memory() noexcept { return memory_; }

  private:
    std::int64_t n_vocab_;
    std::unique_ptr<T> ops_;
    std::unique_ptr<E> experts_;
    Forward<T, E> forward_;
    SequenceMemory<T> memory_;
    typename T::Buffer logits_;
};

}  // namespace greenroom::runtime
