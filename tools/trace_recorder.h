#pragma once

// TraceRecorder: makes a cache::Trace of what the routers choose while texts are evaluated.
//
// Used as the observer of a session: before each text (a session with an empty timeline) call begin_text(),
// and set_phase() when the model goes on by itself. Not thread-safe. The constructor takes the memory for all
// tokens and touches it, so that whoever shares out what is free afterwards (Engine::load_weights()) knows.

#include "cache/trace.h"
#include "runtime/model_spec.h"
#include "runtime/observer.h"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace greenroom::tools {

// The sizes of a trace.
struct TraceShape {
    std::vector<int> layers;  // those with experts, as the model counts them
    int top_k = 0;
    int n_experts = 0;
};

// Error{bad_input} for a model without experts, {unsupported} for one whose layers differ in the number of
// experts or in how many a token uses. `path` names the model in the message.
TraceShape trace_shape(const runtime::ModelSpec& spec, const std::string& path);

enum class TraceScores { recorded, left_out };

// What a trace takes in memory until it is written, and on the disk.
std::int64_t trace_memory_bytes(const TraceShape& shape, std::int64_t n_tokens, TraceScores scores);
std::int64_t trace_file_bytes(const TraceShape& shape, std::int64_t n_tokens, TraceScores scores);

// As Trace::phase has it.
enum class TracePhase : std::uint8_t { prompt = 0, decode = 1 };

class TraceRecorder : public runtime::ForwardObserver {
  public:
    // For at most max_tokens tokens.
    TraceRecorder(TraceShape shape, std::int64_t max_tokens, TraceScores scores);

    // The tokens that follow are a new sequence: position 0 comes next, in the prompt.
    void begin_text();
    void set_phase(TracePhase phase) noexcept { phase_ = phase; }

    // Opens the batch's rows, in which nothing is recorded yet.
    void on_hidden(int layer, std::int64_t first_position, ConstMatrixView hidden) override;
    void on_router(const runtime::RouterChoice& choice) override;
    int n_guesses() const override { return static_cast<int>(cache::Trace::kMostDistance); }
    void on_guess(const runtime::RouterGuess& guess) override;

    const cache::Trace& trace() const noexcept { return trace_; }

  private:
    // Of the value of a token in a MoE layer, where a layer has n_values.
    std::size_t index_of(int layer, std::int64_t position, int n_values) const;

    TraceShape shape_;
    std::vector<int> trace_layers_;  // by layer of the model: its number in the trace
    std::int64_t max_tokens_;
    TracePhase phase_ = TracePhase::prompt;
    std::int32_t sequence_ = -1;
    std::int64_t first_token_ = 0;  // of the text
    cache::Trace trace_;
};

}  // namespace greenroom::tools
