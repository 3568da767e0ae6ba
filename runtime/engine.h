#pragma once

// Engine: a loaded model, ready to answer. Holds what the file means (ModelSpec, Weights), the weights that
// every token needs, the experts' tier, the tokenizer and the threads. Sessions are made from it and must not
// outlive it.
//
// open() reads the metadata; load_weights() takes memory and reads what every token needs. The experts come
// when they are called, and in the background: the first token does not wait for the last expert.
//
// Threads: everything const may be called by any thread. Sessions share the threads and the tier and take
// turns at evaluating.

#include "cache/ssd_reader.h"
#include "quant/base/log.h"
#include "quant/gguf.h"
#include "runtime/gpu_lane.h"
#include "runtime/memory_budget.h"
#include "runtime/model_spec.h"
#include "runtime/ram_tier.h"
#include "runtime/resident_weights.h"
#include "runtime/session_options.h"
#include "runtime/text/tokenizer.h"
#include "runtime/thread_options.h"
#include "runtime/weights.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace greenroom::runtime {

struct LoadOptions {
    ProgressFn progress;  // called while loading; may be empty
    // Memory that the process may use in all. 0: what is available, less a reserve.
    std::int64_t ram_bytes = 0;
    // Of it for experts at most; 0: what is left.
    std::int64_t max_expert_bytes = 0;
    ExpertOptions experts;
    cache::ReaderOptions reader;  // how the files are read
    GpuOptions gpu;
    // Memory is kept free for that many sessions of this kind.
    SessionOptions session;
    int n_sessions = 1;
};

struct EngineOptions {
    ThreadOptions threads;
    ProgressFn progress;  // called while loading; may be empty
    LoadOptions load = {};
};

class Engine {
  public:
    // Opens the file (or the first part of a split model) and checks it against its architecture.
    // Error{bad_input} for a broken file, {unsupported} for an architecture or tokenizer that is not known,
    // {io}.
    static std::unique_ptr<Engine> open(const std::string& path, const ThreadOptions& threads = {});

    // The layers that the GPU would run if it had room for one session of this kind; nothing where it can run
    // none. Before load_weights().
    std::optional<LayerRange> gpu_layers(const GpuOptions& options, const SessionOptions& session) const;

    // Once, before the first session. Error{out_of_memory} when the budget is too small (says what would do),
    // {bad_input} for an unknown policy, those of plan_session(), of SsdReader and of GpuLane.
    void load_weights(const LoadOptions& options);

    // Both.
    static std::unique_ptr<Engine> load(const std::string& path, const EngineOptions& options = {});

    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    const quant::Gguf& file() const noexcept { return file_; }
    const ModelSpec& spec() const noexcept { return spec_; }
    const Weights& weights() const noexcept { return weights_; }
    const text::Tokenizer& tokenizer() const noexcept { return tokenizer_; }
    cpu::ThreadTeam& threads() const noexcept { return *threads_; }
    int n_threads() const noexcept { return n_threads_; }              // for batches of one token
    int n_threads_batch() const noexcept { return n_threads_batch_; }  // for larger ones
    int team_size() const noexcept;                                    // the larger of the two
    // The threads of a batch of n_tokens, from here on. To be used under evaluation_mutex().
    void use_threads_for(std::int64_t n_tokens) const noexcept;

    // nullptr for a model without routed experts. To be used under evaluation_mutex().
    RamTier* experts() const noexcept { return experts_.get(); }
    std::mutex& evaluation_mutex() const noexcept { return evaluation_mutex_; }

    // nullptr: everything is done by the CPU.
    const GpuLane* gpu() const noexcept { return gpu_.get(); }
    // Of it, or nothing. Waits for evaluation_mutex().
    std::optional<GpuUsage> gpu_usage() const;
    // Where the GPU was wanted if possible and was not: the reason. Else empty.
    const std::string& why_no_gpu() const noexcept { return why_no_gpu_; }

    const cache::SsdReader& reader() const noexcept { return *reader_; }
    const MemoryBudget& memory_budget() const noexcept { return budget_; }
    // Of what every token needs: in RAM, and in all, with what is in the GPU's memory.
    std::int64_t resident_ram_bytes() const noexcept { return resident_->bytes(); }
    std::int64_t resident_weights_bytes() const noexcept {
        return resident_->bytes() + (gpu_plan_ ? gpu_plan_->resident_bytes : 0);
    }

    // A session's share of the budget, given back by the destructor.
    class SessionMemoryShare {
      public:
        SessionMemoryShare(std::atomic<std::int64_t>& left, std::int64_t bytes)
            : left_(&left), bytes_(bytes) {}
        ~SessionMemoryShare() { *left_ += bytes_; }
        SessionMemoryShare(const SessionMemoryShare&) = delete;
        SessionMemoryShare& operator=(const SessionMemoryShare&) = delete;

      private:
        std::atomic<std::int64_t>* left_;
        std::int64_t bytes_;
    };
    // Error{out_of_memory} when there is not so much left.
    SessionMemoryShare reserve_for_session(const SessionPlan& plan) const;

    // What a session of this plan evaluates with, on the GPU where there is one to be used; the session has
    // reserved its share before. Error{out_of_memory}.
    std::unique_ptr<Evaluator> make_evaluator(const SessionPlan& plan) const;

  private:
    Engine(quant::Gguf file, const ThreadOptions& threads);

    GpuModel gpu_model() const noexcept {
        return {file_, spec_, weights_, reader_.get(), experts_.get(), *threads_};
    }
    std::optional<GpuPlan> plan_gpu(const LoadOptions& options, const SessionPlan& session);
    GpuOptions tuned(const GpuOptions& options) const;
    std::int64_t ram_bytes_of(const SessionPlan& session) const;
    void read_resident_weights(const LoadOptions& options, const GpuOptions& gpu, const SessionPlan& session);

    quant::Gguf file_;
    ModelSpec spec_;
    Weights weights_;
    text::Tokenizer tokenizer_;
    int n_threads_;
    int n_threads_batch_;
    std::unique_ptr<cpu::ThreadTeam> threads_;
    MemoryBudget budget_;
    mutable std::atomic<std::int64_t> session_bytes_left_{0};
    mutable std::mutex evaluation_mutex_;
    // The reader writes to the memory of both, so it goes first.
    std::unique_ptr<ResidentWeights> resident_;
    std::unique_ptr<ExpertLayouts> layouts_;
    std::unique_ptr<cache::SsdReader> reader_;
    std::unique_ptr<RamTier> experts_;
    std::optional<GpuPlan> gpu_plan_;
    std::unique_ptr<GpuLane> gpu_;
    std::string why_no_gpu_;
};

}  // namespace greenroom::runtime
