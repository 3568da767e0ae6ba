#include "runtime/perplexity.h"

#include "quant/base/error.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace greenroom::runtime {
namespace {

// -ln softmax(logits)[token], in double.
double negative_log_likelihood(std::span<const float> logits, text::TokenId token) {
    const double top = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit - top);
    return std::log(sum) + top - logits[static_cast<std::size_t>(token)];
}

// Sums over the positions that count.
struct Likelihoods {
    std::int64_t n = 0;
    double sum = 0;
    double sum_of_squares = 0;

    void add(double nll) {
        ++n;
        sum += nll;
        sum_of_squares += nll * nll;
    }

    // The error of exp(mean) follows from that of the mean by its derivative, exp(mean).
    PerplexityResult result(std::int64_t n_chunks) const {
        const auto count = static_cast<double>(n);
        const double mean = sum / count;
        const double variance = sum_of_squares / count - mean * mean;
        PerplexityResult result;
        result.perplexity = std::exp(mean);
        if (n > 1 && variance > 0)
            result.standard_error = std::sqrt(variance / (count - 1)) * result.perplexity;
        result.n_chunks = n_chunks;
        result.n_tokens = n;
        return result;
    }
};

void check(std::span<const text::TokenId> tokens, std::int64_t n_ctx, const Session& session) {
    if (n_ctx < 3)
        fail(ErrorKind::bad_input,
             "perplexity: chunks of {} tokens; expected 3 or more, or nothing would count", n_ctx);
    if (n_ctx > session.context_tokens())
        fail(ErrorKind::bad_input, "perplexity: chunks of {} tokens do not fit into a context of {}", n_ctx,
             session.context_tokens());
    if (static_cast<std::int64_t>(tokens.size()) / 2 < n_ctx)
        fail(
            ErrorKind::bad_input,
            "perplexity: the text has {} tokens; expected {}, two chunks of {}. Use a longer text or shorter "
            "chunks (-c)",
            tokens.size(), 2 * n_ctx, n_ctx);
}

}  // namespace

PerplexityResult measure_perplexity(Session& session, const text::Tokenizer& tokenizer,
                                    std::span<const text::TokenId> tokens, std::int64_t n_ctx,
                                    std::int64_t max_chunks, const EvaluateOptions& options,
                                    const std::function<void(const PerplexityResult&)>& on_chunk) {
    check(tokens, n_ctx, session);
    const std::int64_t n_whole = static_cast<std::int64_t>(tokens.size()) / n_ctx;
    const std::int64_t n_chunks = max_chunks < 0 ? n_whole : std::min(max_chunks, n_whole);
    const std::int64_t first_counted = n_ctx / 2;

    Likelihoods likelihoods;
    PerplexityResult result;
    std::vector<text::TokenId> chunk;
    for (std::int64_t i = 0; i < n_chunks; ++i) {
        const auto source =
            tokens.subspan(static_cast<std::size_t>(i * n_ctx), static_cast<std::size_t>(n_ctx));
        chunk.assign(source.begin(), source.end());
        if (tokenizer.adds_bos() && tokenizer.bos()) chunk.front() = *tokenizer.bos();

        Likelihoods with_chunk = likelihoods;  // a cancelled chunk does not count at all
        const auto on_logits = [&](std::int64_t position, std::span<const float> logits) {
            if (position >= first_counted && position + 1 < n_ctx)
                with_chunk.add(
                    negative_log_likelihood(logits, chunk[static_cast<std::size_t>(position + 1)]));
        };
        session.truncate(0);
        if (session.evaluate_each(chunk, on_logits, options) == Evaluated::cancelled) break;
        likelihoods = with_chunk;
        result = likelihoods.result(i + 1);
        if (on_chunk) on_chunk(result);
    }
    return result;
}

}  // namespace greenroom::runtime
