#pragma once

// RamTier: the routed experts in RAM slots, with the SSD behind them. Joins the model (which tensors make an
// expert) with the cache (byte ranges and slots): computes the layouts, makes the policy and the arena, hands
// out an expert's matrices, and keeps the reader busy with what may be wanted next.
//
// One per engine, shared by its sessions; whoever evaluates holds the engine's lock. Nothing is allocated
// after construction.

#include "cache/arena.h"
#include "cache/expert_cache.h"
#include "cache/policies.h"
#include "cache/ssd_reader.h"
#include "quant/gguf.h"
#include "runtime/model_spec.h"
#include "runtime/weights.h"

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace greenroom::runtime {

struct ExpertOptions {
    std::string policy = std::string(cache::kDefaultPolicy);
    cache::Scope scope = cache::kDefaultScope;
    // How many layers ahead the routers are asked for experts to be read; 0: none is read ahead.
    int prefetch_layers = 1;

    static constexpr int kMaxPrefetchLayers = 3;
};

// Where the experts lie in the files, and how large their slots are.
class ExpertLayouts {
  public:
    ExpertLayouts(const quant::Gguf& gguf, const ModelSpec& spec, const Weights& weights,
                  std::int64_t alignment);

    // MoE layers are counted from 0; -1: layer i is not one.
    int ordinal(int layer) const { return ordinals_[static_cast<std::size_t>(layer)]; }
    int n_layers() const noexcept { return static_cast<int>(layers_.size()); }
    int layer(int ordinal) const { return layers_[static_cast<std::size_t>(ordinal)]; }
    int n_experts() const noexcept { return n_experts_; }  // per layer, at most
    int top_k() const noexcept { return top_k_; }          // at most
    std::int64_t n_all() const noexcept { return n_all_; }
    // Layers may have fewer than n_experts().
    bool has(cache::ExpertId id) const {
        return !slots_[static_cast<std::size_t>(std::int64_t{id.layer} * n_experts_ + id.index)]
                    .parts()
                    .empty();
    }

    std::span<const cache::SlotLayout> slots() const noexcept { return slots_; }  // by ordinal and expert
    std::span<const std::int64_t> layer_slot_bytes() const noexcept { return layer_slot_bytes_; }

    // For this many bytes of slots.
    cache::SlotPlanOptions plan_options(cache::Scope scope, std::int64_t budget_bytes) const;

  private:
    std::vector<int> ordinals_;
    std::vector<int> layers_;
    int n_experts_ = 0;
    int top_k_ = 0;
    std::int64_t n_all_ = 0;
    std::vector<cache::SlotLayout> slots_;
    std::vector<std::int64_t> layer_slot_bytes_;
};

// How well experts are foreseen.
struct Foresight {
    std::int64_t n_called = 0;    // experts that a layer has called,
    std::int64_t n_foreseen = 0;  // and of these, how many were among those guessed

    double recall() const noexcept {
        return n_called == 0 ? 0.0 : static_cast<double>(n_foreseen) / static_cast<double>(n_called);
    }
};

class RamTier {
  public:
    // budget_bytes: of slots. layouts (of a model with MoE layers), weights and reader must outlive it; the
    // reader is all ours. Error{bad_input} for an unknown policy, {out_of_memory}.
    RamTier(const ExpertLayouts& layouts, const Weights& weights, cache::SsdReader& reader,
            const ExpertOptions& options, std::int64_t budget_bytes);

    const ExpertLayouts& layouts() const noexcept { return layouts_; }
    cache::ExpertCache& cache() noexcept { return *cache_; }
    const cache::ExpertCache& cache() const noexcept { return *cache_; }
    const cache::Policy& policy() const noexcept { return *policy_; }
    const cache::SlotPlan& plan() const noexcept { return plan_; }
    const cache::Arena& arena() const noexcept { return *arena_; }
    const ExpertOptions& options() const noexcept { return options_; }

    // All experts are in memory, so there is nothing to decide or to read any more.
    bool is_complete() const noexcept { return cache_->n_resident() == layouts_.n_all(); }

    // The matrices of an expert that is resident, in its slot.
    ExpertWeights weights(cache::ExpertId id) const;

    // Keeps an expert that is resident in its slot until let_go(), for somebody who copies it from there.
    void hold(cache::ExpertId id) { policy_->pin(id); }
    void let_go(cache::ExpertId id) { policy_->unpin(id); }

    // Numbers for n tokens that go through the layers from here on (see cache::Request::step).
    std::int64_t take_steps(std::int64_t n) noexcept { return n_steps_ += n, n_steps_ - n; }

    // Has the reader go on with the slots that nobody has used, a few at a time, from the first layer on.
    void fill();

    // Begins to read all that is missing of a layer, in the file's order, as far as there are slots to spare.
    void read_ahead(int ordinal);

    // Begins to read what the first layer does not have and is most likely to call for the next token, as far
    // as there are slots to spare. Before that token is known only the calls so far can tell, so it is the
    // policy that says; the reader would have nothing else to do while the last layer's result becomes a
    // token.
    void read_ahead_of_next_token();

    // By distance in layers, from 1 on.
    Foresight& foresight(int distance) { return foresight_[static_cast<std::size_t>(distance - 1)]; }
    const Foresight& foresight(int distance) const {
        return foresight_[static_cast<std::size_t>(distance - 1)];
    }

  private:
    const ExpertLayouts& layouts_;
    const Weights& weights_;
    ExpertOptions options_;
    cache::SlotPlan plan_;
    std::unique_ptr<cache::Policy> policy_;
    std::unique_ptr<cache::Arena> arena_;
    std::unique_ptr<cache::ExpertCache> cache_;
    std::int64_t n_steps_ = 0;
    std::int64_t next_to_fill_ = 0;     // by ordinal and expert
    std::vector<std::int32_t> wanted_;  // see read_ahead_of_next_token()
    std::array<Foresight, ExpertOptions::kMaxPrefetchLayers> foresight_;
};

}  // namespace greenroom::runtime
