#pragma once

// Session: one timeline of tokens and what is remembered of them. Everything it needs is sized and reserved
// by the constructor; evaluating allocates nothing. Not thread-safe; the engine must outlive it.

#include "quant/base/log.h"
#include "quant/base/op_params.h"
#include "runtime/engine.h"
#include "runtime/kv_layout.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

namespace greenroom::runtime {

class ForwardObserver;

struct SessionOptions {
    // KV cache size; 0: the model's context length, at most kDefaultContextTokens
    std::int64_t context_tokens = 0;
    std::int64_t batch_tokens = 512;            // tokens of one forward pass in prefill
    Activations activations = Activations::q8;  // of products with quantized weights
    KvTypes kv_types = {};
    WindowRows window_rows = WindowRows::ring;
    int n_checkpoints = kAutoCheckpoints;  // places to go back to, where the model needs them

    static constexpr int kAutoCheckpoints = -1;  // see default_checkpoints()
};

inline constexpr std::int64_t kDefaultContextTokens = 4096;

struct EvaluateOptions {
    ProgressFn progress;                           // called after each batch of a long prefill; may be empty
    const std::atomic<bool>* cancelled = nullptr;  // looked at between batches and layers
    ForwardObserver* observer = nullptr;  // sees hidden states and router choices; for debugging and traces
};

enum class Evaluated { done, cancelled };

class Session {
  public:
    // Error{bad_input} for a context longer than the model's (saying by how much), {out_of_memory} when the
    // KV cache and the working memory do not fit into what is available (with the sizes and a context that
    // would).
    Session(const Engine& engine, const SessionOptions& options);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Evaluates the tokens after those already there. Afterwards logits() are those after the last token.
    // Error{bad_input} when they do not fit into the context (saying by how much) or an id is outside the
    // vocabulary; the timeline is then unchanged. When cancelled the timeline holds the batches that were
    // completed: n_tokens() says how far it got.
    Evaluated evaluate(std::span<const text::TokenId> tokens, const EvaluateOptions& options = {});

    // The same, handing over the logits [n_vocab] after each token in turn, with its position in the
    // timeline.
    using LogitsFn = std::function<void(std::int64_t position, std::span<const float> logits)>;
    Evaluated evaluate_each(std::span<const text::TokenId> tokens, const LogitsFn& on_logits,
                            const EvaluateOptions& options = {});

    // [n_vocab] after the last token evaluated; valid until the next call. Empty before the first.
    std::span<const float> logits() const noexcept;

    // Drops the tokens from position n_keep on, 0 <= n_keep <= n_tokens(), and returns how many are kept:
    // n_keep, or less where a recurrent state or a window's ring has moved on. It then goes back to the last
    // checkpoint before (made at the end of each call of evaluate() with several tokens and, if there are
    // many, shortly before), or to the beginning.
    std::int64_t truncate(std::int64_t n_keep);

    // The timeline; valid until the next call that changes it.
    std::span<const text::TokenId> tokens() const noexcept;

    std::int64_t n_tokens() const noexcept;
    std::int64_t context_tokens() const noexcept;
    const KvLayout& kv_layout() const noexcept;
    std::int64_t kv_cache_bytes() const noexcept;
    std::int64_t checkpoint_bytes() const noexcept;
    std::int64_t working_bytes() const noexcept;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace greenroom::runtime
