#pragma once

// Perplexity as llama.cpp's llama-perplexity measures it, so that the numbers compare: the text is cut into
// chunks of n_ctx tokens, each evaluated from an empty context; the second half of a chunk's positions
// counts.

#include "runtime/session.h"

#include <cstdint>
#include <functional>
#include <span>

namespace greenroom::runtime {

struct PerplexityResult {
    double perplexity = 0;      // exp(mean negative log-likelihood)
    double standard_error = 0;  // of the perplexity, from the variance of the log-likelihoods
    std::int64_t n_chunks = 0;
    std::int64_t n_tokens = 0;  // positions that count
};

// `tokens` is the whole text, with BOS where the model wants it. Each chunk's first token is replaced by BOS
// if the tokenizer adds one. max_chunks < 0: all. Error{bad_input} when there are fewer tokens than 2 ·
// n_ctx. on_chunk is called after each chunk with the result so far; may be empty.
PerplexityResult measure_perplexity(Session& session, const text::Tokenizer& tokenizer,
                                    std::span<const text::TokenId> tokens, std::int64_t n_ctx,
                                    std::int64_t max_chunks, const EvaluateOptions& options,
                                    const std::function<void(const PerplexityResult&)>& on_chunk);

}  // namespace greenroom::runtime
