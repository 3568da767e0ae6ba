#pragma once

// Session: one timeline of tokens and what is remembered of them. Everything it needs is sized and reserved
// by the constructor; evaluating allocates nothing. A session is used by one thread at a time; several
// sessions of an engine may be used at once, and take turns batch by batch. The engine must outlive it.

#include "quant/base/log.h"
#include "runtime/engine.h"
#include "runtime/kv_layout.h"
#include "runtime/session_options.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

namespace greenroom::runtime {

class ForwardObserver;

struct EvaluateOptions {
    ProgressFn progress;                           // called after each batch of a long prefill; may be empty
    const std::atomic<bool>* cancelled = nullptr;  // looked at between batches and layers
    ForwardObserver* observer = nullptr;  // sees hidden states and router choices; for debugging and traces
};

enum class Evaluated { done, cancelled };

class Session {
  public:
    // The engine has loaded its weights. Error: those of plan_session(); {out_of_memory} when the KV cache
    // and the working memory do not fit into what the engine's budget has left for sessions (with the sizes
    // and a context that would).
    Session(const Engine& engine, const SessionOptions& options);
    ~Session();
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

    // Evaluates the tokens after those already there. Afterwards logits() are those after the last token.
    // Error{bad_input} when they do not fit into the context (saying by how much) or an id is outside the
    // vocabulary; the timeline is then unchanged. Error{io} when an expert cannot be read. Then, and when
    // cancelled, the timeline holds the batches that were completed: n_tokens() says how far it got.
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
