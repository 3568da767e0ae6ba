#include "runtime/generation.h"

#include "quant/base/error.h"
#include "runtime/stop_matcher.h"
#include "runtime/text/detokenizer.h"

#include <algorithm>
#include <chrono>
#include <limits>

namespace greenroom::runtime {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

bool is_set(const std::atomic<bool>* flag) {
    return flag != nullptr && flag->load(std::memory_order_relaxed);  // publishes nothing but itself
}

// Whether the answer goes on with a text, or only control tokens (BOS) stand before it.
text::TextPosition answer_position(const Session& session, const text::Tokenizer& tokenizer,
                                   std::span<const text::TokenId> prompt) {
    const auto is_control = [&tokenizer](text::TokenId id) { return tokenizer.is_control(id); };
    return session.n_tokens() == 0 && std::all_of(prompt.begin(), prompt.end(), is_control)
               ? text::TextPosition::beginning
               : text::TextPosition::continuation;
}

// The text of an answer on its way out: ids to whole characters, up to the first stop text.
class Answer {
  public:
    Answer(const text::Tokenizer& tokenizer, text::TextPosition position, const GenerationOptions& options,
           const std::function<void(std::string_view)>& on_text)
        : detokenizer_(tokenizer,
                       options.show_control_tokens ? text::Tokenizer::ControlTokens::show
                                                   : text::Tokenizer::ControlTokens::skip,
                       position),
          stops_(options.stop),
          on_text_(on_text) {}

    void push(text::TokenId token) { show(stops_.push(detokenizer_.push(token))); }

    bool stopped() const noexcept { return stops_.matched(); }

    void finish() {
        if (stopped()) return;
        show(stops_.push(detokenizer_.finish()));
        if (!stopped()) show(stops_.finish());
    }

  private:
    void show(std::string_view text) {
        if (!text.empty()) on_text_(text);
    }

    text::Detokenizer detokenizer_;
    StopMatcher stops_;
    const std::function<void(std::string_view)>& on_text_;
};

// Samples and evaluates until something ends the answer.
Finish decode(Session& session, const text::Tokenizer& tokenizer, Sampler& sampler,
              const GenerationOptions& options, Answer& answer, std::int64_t& n_generated) {
    const EvaluateOptions evaluate_options{
        .progress = {}, .cancelled = options.cancelled, .observer = nullptr};
    while (n_generated != options.max_tokens) {
        if (is_set(options.cancelled)) return Finish::cancelled;
        const text::TokenId token = sampler.sample(session.logits());
        sampler.accept(token);
        ++n_generated;
        const bool ends = tokenizer.is_end_of_generation(token) && !options.ignore_end_of_generation;
        if (!ends || options.show_control_tokens) answer.push(token);
        if (ends) return Finish::end_of_generation;
        if (answer.stopped()) return Finish::stop_text;
        if (n_generated == options.max_tokens) break;  // no one will look at the next logits
        if (session.n_tokens() == session.context_tokens()) return Finish::context_full;
        if (session.evaluate({&token, 1}, evaluate_options) == Evaluated::cancelled) return Finish::cancelled;
    }
    return Finish::max_tokens;
}

}  // namespace

std::vector<LogitBias> end_of_generation_bans(const text::Tokenizer& tokenizer) {
    std::vector<LogitBias> bans;
    for (text::TokenId id = 0; id < tokenizer.size(); ++id)
        if (tokenizer.is_end_of_generation(id)) bans.push_back({id, -std::numeric_limits<float>::infinity()});
    return bans;
}

GenerationResult generate(Session& session, const text::Tokenizer& tokenizer, Sampler& sampler,
                          std::span<const text::TokenId> prompt, const GenerationOptions& options,
                          const std::function<void(std::string_view)>& on_text) {
    if (prompt.empty())
        fail(ErrorKind::bad_input,
             "the prompt is empty, and the model starts no text by itself (no BOS). Give at least a "
             "character");
    GenerationResult result;
    result.n_prompt_tokens = static_cast<std::int64_t>(prompt.size());
    Answer answer(tokenizer, answer_position(session, tokenizer, prompt), options, on_text);

    const Clock::time_point prefill_start = Clock::now();
    const EvaluateOptions prefill{
        .progress = options.progress, .cancelled = options.cancelled, .observer = nullptr};
    const Evaluated evaluated = session.evaluate(prompt, prefill);
    result.prefill_s = seconds_since(prefill_start);
    if (evaluated == Evaluated::cancelled) {
        result.finish = Finish::cancelled;
        return result;
    }
    for (const text::TokenId token : prompt) sampler.accept(token);

    const Clock::time_point decode_start = Clock::now();
    result.finish = decode(session, tokenizer, sampler, options, answer, result.n_generated);
    result.decode_s = seconds_since(decode_start);
    answer.finish();
    return result;
}

}  // namespace greenroom::runtime
