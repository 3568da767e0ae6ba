#include "runtime/session.h"

#include "cpu/ops.h"
#include "cpu/parallel.h"
#include "quant/base/error.h"
#include "runtime/forward.h"
#include "runtime/kv_cache.h"
#include "runtime/memory_plan.h"
#include "runtime/scheduler.h"

#include <algorithm>

namespace greenroom::runtime {
namespace {

static_assert(Ops<cpu::Ops>);

std::int64_t choose_context(const ModelSpec& spec, const std::string& path, std::int64_t asked) {
    if (asked < 0)
        fail(ErrorKind::bad_input, "a context of {} tokens; expected 0 (automatic) or more", asked);
    if (asked > spec.context_length)
        fail(ErrorKind::bad_input,
             "{}: a context of {} tokens is {} more than the model's {} (metadata {}.context_length). Use -c "
             "{} or less",
             path, asked, asked - spec.context_length, spec.context_length, spec.architecture,
             spec.context_length);
    return asked > 0 ? asked : std::min(spec.context_length, kDefaultContextTokens);
}

std::int64_t choose_batch(std::int64_t asked, std::int64_t context_tokens) {
    if (asked < 1) fail(ErrorKind::bad_input, "a batch of {} tokens; expected at least 1", asked);
    return std::min(asked, context_tokens);
}

// Reserving follows the plan; a plan that does not fit is refused first.
MemoryPlan checked_plan(const Engine& engine, std::int64_t context_tokens, std::int64_t batch_tokens) {
    const MemoryPlan plan = plan_session(engine.spec(), context_tokens, batch_tokens, engine.n_threads());
    check_plan(plan, engine.spec(), context_tokens, available_memory_bytes());
    return plan;
}

}  // namespace

struct Session::Impl {
    Impl(const Engine& e, const SessionOptions& options)
        : engine(e),
          context_tokens(choose_context(e.spec(), e.file().path(), options.context_tokens)),
          batch_tokens(choose_batch(options.batch_tokens, context_tokens)),
          plan(checked_plan(e, context_tokens, batch_tokens)),
          ops(e.threads(), cpu::Ops::scratch_floats_needed(extent_of(e.spec()).max_row,
                                                           extent_of(e.spec()).max_experts, context_tokens)),
          experts(e.spec(), e.weights(), ops, batch_tokens),
          forward(e.spec(), e.weights(), ops, experts, batch_tokens),
          cache(e.spec(), context_tokens, ops),
          logits(ops.allocate(kLogitsRows * e.spec().n_vocab)) {}

    MatrixView logits_rows(std::int64_t n_rows) const noexcept {
        const std::int64_t n_vocab = engine.spec().n_vocab;
        return {logits.data(), n_rows, n_vocab, n_vocab};
    }

    // Throws where the tokens cannot be evaluated; changes nothing.
    void check(std::span<const text::TokenId> tokens) const {
        if (tokens.empty()) fail(ErrorKind::bad_input, "no tokens to evaluate");
        const auto n_new = static_cast<std::int64_t>(tokens.size());
        if (n_new > context_tokens - n_tokens)
            fail(ErrorKind::bad_input,
                 "{} tokens after {} already there are {} more than the context of {} holds. Shorten the "
                 "prompt or use a "
                 "larger -c (the model's context length is {})",
                 n_new, n_tokens, n_new + n_tokens - context_tokens, context_tokens,
                 engine.spec().context_length);
        for (const text::TokenId id : tokens)
            if (id < 0 || id >= engine.spec().n_vocab)
                fail(ErrorKind::bad_input, "token id {} is outside the vocabulary of {} tokens", id,
                     engine.spec().n_vocab);
    }

    // after_batch(first position, number of tokens) sees each batch while the forward pass still holds its
    // rows.
    template <class AfterBatch>
    Evaluated run_batches(std::span<const text::TokenId> tokens, const EvaluateOptions& options,
                          AfterBatch&& after_batch) {
        check(tokens);
        const std::int64_t start = n_tokens;
        const auto n_all = static_cast<std::int64_t>(tokens.size());
        for (std::int64_t done = 0; done < n_all;) {
            const std::int64_t n = std::min(batch_tokens, n_all - done);
            const auto batch = tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(n));
            if (!forward.run(batch, n_tokens, cache, options.observer, options.cancelled)) {
                n_tokens = start;
                return Evaluated::cancelled;
            }
            after_batch(n_tokens, n);
            n_tokens += n;
            done += n;
            if (options.progress) options.progress("prefill", done, n_all);
        }
        return Evaluated::done;
    }

    const Engine& engine;
    std::int64_t context_tokens;
    std::int64_t batch_tokens;
    MemoryPlan plan;
    cpu::Ops ops;
    ExpertScheduler experts;
    Forward<cpu::Ops> forward;
    KvCache<cpu::Ops> cache;
    cpu::Buffer logits;
    std::int64_t n_tokens = 0;
    std::span<const float> last_logits;
};

Session::Session(const Engine& engine, const SessionOptions& options)
    : impl_(std::make_unique<Impl>(engine, options)) {}
Session::~Session() = default;

Evaluated Session::evaluate(std::span<const text::TokenId> tokens, const EvaluateOptions& options) {
    Impl& s = *impl_;
    std::int64_t n_last = 0;
    const Evaluated result =
        s.run_batches(tokens, options, [&n_last](std::int64_t, std::int64_t n) noexcept { n_last = n; });
    if (result == Evaluated::cancelled) return result;
    s.forward.head(s.logits_rows(1), n_last - 1);
    s.last_logits = s.logits_rows(1).row_span(0);
    return result;
}

Evaluated Session::evaluate_each(std::span<const text::TokenId> tokens, const LogitsFn& on_logits,
                                 const EvaluateOptions& options) {
    Impl& s = *impl_;
    return s.run_batches(tokens, options, [&s, &on_logits](std::int64_t first_position, std::int64_t n) {
        for (std::int64_t first = 0; first < n; first += kLogitsRows) {
            const MatrixView rows = s.logits_rows(std::min(kLogitsRows, n - first));
            s.forward.head(rows, first);
            for (std::int64_t r = 0; r < rows.n_rows; ++r)
                on_logits(first_position + first + r, rows.row_span(r));
            s.last_logits = rows.row_span(rows.n_rows - 1);
        }
    });
}

std::span<const float> Session::logits() const noexcept { return impl_->last_logits; }

void Session::truncate(std::int64_t n_keep) {
    GR_CHECK(n_keep >= 0 && n_keep <= impl_->n_tokens);
    impl_->n_tokens = n_keep;
}

std::int64_t Session::n_tokens() const noexcept { return impl_->n_tokens; }
std::int64_t Session::context_tokens() const noexcept { return impl_->context_tokens; }
std::int64_t Session::kv_cache_bytes() const noexcept { return impl_->plan.kv_cache_bytes; }
std::int64_t Session::working_bytes() const noexcept { return impl_->plan.working_bytes; }

}  // namespace greenroom::runtime
