#include "runtime/session.h"

#include "quant/base/error.h"
#include "runtime/evaluator.h"
#include "runtime/memory_plan.h"

#include <algorithm>
#include <mutex>
#include <vector>

namespace greenroom::runtime {

struct Session::Impl {
    Impl(const Engine& e, const SessionOptions& options)
        : engine(e),
          plan(plan_session(e.spec(), e.file().path(), options, e.team_size())),
          reserved(e.reserve_for_session(plan)),
          evaluator(e.make_evaluator(plan)) {
        timeline.reserve(static_cast<std::size_t>(plan.context_tokens));
    }

    // Throws where the tokens cannot be evaluated; changes nothing.
    void check(std::span<const text::TokenId> tokens) const {
        if (tokens.empty()) fail(ErrorKind::bad_input, "no tokens to evaluate");
        const auto n_new = static_cast<std::int64_t>(tokens.size());
        const std::int64_t n_tokens = evaluator->n_tokens();
        if (n_new > plan.context_tokens - n_tokens)
            fail(ErrorKind::bad_input,
                 "{} tokens{} are {} more than the context of {} holds. Shorten the prompt or use a larger "
                 "-c (the model's context length is {})",
                 n_new, n_tokens > 0 ? fmt::format(" after {} already there", n_tokens) : "",
                 n_new + n_tokens - plan.context_tokens, plan.context_tokens, engine.spec().context_length);
        for (const text::TokenId id : tokens)
            if (id < 0 || id >= engine.spec().n_vocab)
                fail(ErrorKind::bad_input, "token id {} is outside the vocabulary of {} tokens", id,
                     engine.spec().n_vocab);
    }

    // after_batch(first position, number of tokens) sees each batch while the evaluator still holds its rows.
    template <class AfterBatch>
    Evaluated run_batches(std::span<const text::TokenId> tokens, const EvaluateOptions& options,
                          AfterBatch&& after_batch) {
        check(tokens);
        const auto n_all = static_cast<std::int64_t>(tokens.size());
        // Where a prompt ends another answer may begin; where a generated token ends nobody comes back to.
        // Shortly before it, too: chat templates write the beginning of an answer in another way once there
        // is one.
        constexpr std::int64_t kLong = 64;
        constexpr std::int64_t kBeforeEnd = 16;
        const std::int64_t stop =
            evaluator->keeps_checkpoints() && n_all > kLong ? n_all - kBeforeEnd : n_all;
        for (std::int64_t done = 0; done < n_all;) {
            const std::int64_t n = std::min(plan.batch_tokens, (done < stop ? stop : n_all) - done);
            const std::scoped_lock turn(engine.evaluation_mutex());
            const auto batch = tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(n));
            engine.use_threads_for(n);
            if (!evaluator->run(batch, options.observer, options.cancelled)) return Evaluated::cancelled;
            after_batch(evaluator->n_tokens() - n, n);
            timeline.insert(timeline.end(), batch.begin(), batch.end());
            done += n;
            if (n_all > 1 && (done == stop || done == n_all)) evaluator->save_checkpoint();
            if (options.progress) options.progress("prefill", done, n_all);
        }
        return Evaluated::done;
    }

    const Engine& engine;
    SessionPlan plan;
    Engine::SessionMemoryShare reserved;
    std::unique_ptr<Evaluator> evaluator;
    std::vector<text::TokenId> timeline;  // the tokens evaluated; never grows beyond what is reserved
    std::span<const float> last_logits;
};

Session::Session(const Engine& engine, const SessionOptions& options)
    : impl_(std::make_unique<Impl>(engine, options)) {}
Session::~Session() = default;

Evaluated Session::evaluate(std::span<const text::TokenId> tokens, const EvaluateOptions& options) {
    Impl& s = *impl_;
    const std::int64_t n_end = s.evaluator->n_tokens() + static_cast<std::int64_t>(tokens.size());
    return s.run_batches(tokens, options, [&s, n_end](std::int64_t first_position, std::int64_t n) {
        if (first_position + n < n_end) return;
        s.last_logits = s.evaluator->logits(n - 1, 1).row_span(0);
    });
}

Evaluated Session::evaluate_each(std::span<const text::TokenId> tokens, const LogitsFn& on_logits,
                                 const EvaluateOptions& options) {
    Impl& s = *impl_;
    return s.run_batches(tokens, options, [&s, &on_logits](std::int64_t first_position, std::int64_t n) {
        for (std::int64_t first = 0; first < n; first += kLogitsRows) {
            const ConstMatrixView rows = s.evaluator->logits(first, std::min(kLogitsRows, n - first));
            for (std::int64_t r = 0; r < rows.n_rows; ++r)
                on_logits(first_position + first + r, rows.row_span(r));
            s.last_logits = rows.row_span(rows.n_rows - 1);
        }
    });
}

std::span<const float> Session::logits() const noexcept { return impl_->last_logits; }

std::int64_t Session::truncate(std::int64_t n_keep) {
    GR_CHECK(n_keep >= 0 && n_keep <= n_tokens());
    const std::int64_t n_kept = impl_->evaluator->rewind(n_keep);
    impl_->timeline.resize(static_cast<std::size_t>(n_kept));
    return n_kept;
}

std::span<const text::TokenId> Session::tokens() const noexcept { return impl_->timeline; }
std::int64_t Session::n_tokens() const noexcept { return impl_->evaluator->n_tokens(); }
std::int64_t Session::context_tokens() const noexcept { return impl_->plan.context_tokens; }
const KvLayout& Session::kv_layout() const noexcept { return impl_->plan.layout; }
std::int64_t Session::checkpoint_bytes() const noexcept { return impl_->plan.memory.checkpoint_bytes; }
std::int64_t Session::kv_cache_bytes() const noexcept { return impl_->plan.memory.kv_cache_bytes; }
std::int64_t Session::working_bytes() const noexcept { return impl_->plan.memory.working_bytes; }

}  // namespace greenroom::runtime
