#pragma once

// Session: one timeline of tokens and its KV cache. Everything it needs is sized and reserved by the
// constructor; evaluating allocates nothing. Not thread-safe; the engine must outlive it.

#include "quant/base/log.h"
#include "runtime/engine.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

namespace greenroom::runtime {

class ForwardObserver;

struct SessionOptions {
    std::int64_t context_tokens =
        0;  // KV cache size; 0: the model's context length, at most kDefaultContextTokens
    std::int64_t batch_tokens = 512;  // tokens of one forward pass in prefill
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
    // vocabulary; the timeline is then unchanged. When cancelled the timeline is what it was before the call.
    Evaluated evaluate(std::span<const text::TokenId> tokens, const EvaluateOptions& options = {});

    // The same, handing over the logits [n_vocab] after each token in turn, with its position in the
    // timeline.
    using LogitsFn = std::function<void(std::int64_t position, std::span<const float> logits)>;
    Evaluated evaluate_each(std::span<const text::TokenId> tokens, const LogitsFn& on_logits,
                            const EvaluateOptions& options = {});

    // [n_vocab] after the last token evaluated; valid until the next call. Empty before the first.
    std::span<const float> logits() const noexcept;

    // Drops the tokens from position n_keep on. 0 <= n_keep <= n_tokens().
    void truncate(std::int64_t n_keep);

    std::int64_t n_tokens() const noexcept;
    std::int64_t context_tokens() const noexcept;
    std::int64_t kv_cache_bytes() const noexcept;
    std::int64_t working_bytes() const noexcept;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace greenroom::runtime
