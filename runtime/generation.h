#pragma once

// generate(): the loop from a prompt to an answer: prefill, sample, detokenize, stop. Used by every front
// end.

#include "runtime/sampler.h"
#include "runtime/session.h"
#include "runtime/text/tokenizer.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::runtime {

struct GenerationOptions {
    std::int64_t max_tokens = -1;           // -1: until the model ends or the context is full
    std::vector<std::string> stop;          // the answer ends before the first of these texts
    bool ignore_end_of_generation = false;  // go on after EOS (llama.cpp's --ignore-eos)
    bool show_control_tokens = false;
    ProgressFn progress;  // of the prefill
    const std::atomic<bool>* cancelled = nullptr;
};

enum class Finish { end_of_generation, stop_text, max_tokens, context_full, cancelled };

struct GenerationResult {
    Finish finish = Finish::end_of_generation;
    std::int64_t n_prompt_tokens = 0;
    std::int64_t n_generated = 0;  // tokens sampled, the ending one included
    double prefill_s = 0;
    double decode_s = 0;  // from the first sampled token on
};

// With these biases a sampler never chooses a token that ends an answer (llama.cpp's --ignore-eos).
std::vector<LogitBias> end_of_generation_bans(const text::Tokenizer& tokenizer);

// Evaluates the prompt and hands the answer over piece by piece: whole UTF-8 characters, never a part of a
// stop text. The tokens stay in the session. Error{bad_input} when the prompt is empty or does not fit into
// the context.
GenerationResult generate(Session& session, const text::Tokenizer& tokenizer, Sampler& sampler,
                          std::span<const text::TokenId> prompt, const GenerationOptions& options,
                          const std::function<void(std::string_view)>& on_text);

}  // namespace greenroom::runtime
