#pragma once

// Chat: a conversation with a model, turn by turn. Holds the messages and the session; the KV cache is kept
// between turns, so that of a prompt only what is new is evaluated.
//
// The engine must outlive it. Not thread-safe.

#include "runtime/generation.h"
#include "runtime/sampler.h"
#include "runtime/session.h"
#include "runtime/text/output/output_message.h"
#include "tools/chat_format.h"
#include "tools/chat_message.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::tools {

struct ChatOptions {
    std::string system_prompt;     // empty: none
    std::int64_t max_tokens = -1;  // of an answer; -1: until the model ends it or the context is full
    runtime::SessionOptions session;
    runtime::SamplerOptions sampler;
};

// What an answer took.
struct TurnFigures {
    std::int64_t n_prompt_tokens = 0;
    std::int64_t n_reused_tokens = 0;  // of them, in the KV cache from before
    std::int64_t n_generated = 0;
    std::int64_t n_decoded =
        0;  // generated tokens that took a step: the first comes from the prompt's logits
    double prefill_s = 0;
    double decode_s = 0;
};

enum class TurnEnd {
    answered,
    max_tokens,
    cancelled,     // the part of the answer that was there is kept
    not_answered,  // cancelled before anything was said: the conversation is what it was
    context_full,  // the answer stopped there; it is kept as far as it goes
    does_not_fit,  // not even the prompt: the conversation is what it was
};

class Chat {
  public:
    // Errors as of Session and Sampler.
    Chat(const runtime::Engine& engine, const ChatFormat& format, const ChatOptions& options);

    struct AskOptions {
        std::function<void(const text::OutputMessage& part)> on_part;  // the answer while it is written
        ProgressFn progress;                                           // of the prefill; may be empty
        const std::atomic<bool>* cancelled = nullptr;
    };

    // Says something as the user and has it answered. Error{bad_input} when the template refuses the
    // conversation, which then is what it was.
    TurnEnd ask(std::string_view user, const AskOptions& options);

    // Forgets everything but the system prompt.
    void reset();

    std::span<const ChatMessage> messages() const noexcept { return messages_; }

    std::int64_t n_turns() const noexcept { return n_turns_; }
    const TurnFigures& last_turn() const noexcept { return last_; }
    const TurnFigures& all_turns() const noexcept { return all_; }  // also those before reset()
    // Tokens of the last prompt that was tried: what does_not_fit is about.
    std::int64_t n_prompt_tokens() const noexcept { return n_prompt_tokens_; }
    std::int64_t n_context_used() const noexcept { return session_.n_tokens(); }
    std::int64_t n_context() const noexcept { return session_.context_tokens(); }

  private:
    TurnEnd answer(const AskOptions& options);

    const text::Tokenizer& tokenizer_;
    const ChatFormat& format_;
    ChatOptions options_;
    runtime::Session session_;
    runtime::Sampler sampler_;
    std::vector<ChatMessage> messages_;
    std::int64_t n_turns_ = 0;
    std::int64_t n_prompt_tokens_ = 0;
    TurnFigures last_;
    TurnFigures all_;
};

}  // namespace greenroom::tools
