#include "tools/chat.h"

#include "runtime/prefix_reuse.h"
#include "runtime/text/output/output_parser.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <utility>

namespace greenroom::tools {
namespace {

TurnEnd turn_end(runtime::Finish finish, bool said_something) {
    switch (finish) {
        case runtime::Finish::max_tokens:
            return TurnEnd::max_tokens;
        case runtime::Finish::context_full:
            return TurnEnd::context_full;
        case runtime::Finish::cancelled:
            return said_something ? TurnEnd::cancelled : TurnEnd::not_answered;
        case runtime::Finish::end_of_generation:
        case runtime::Finish::stop_text:
            break;
    }
    return TurnEnd::answered;
}

bool is_cut_off(runtime::Finish finish) {
    return finish != runtime::Finish::end_of_generation && finish != runtime::Finish::stop_text;
}

void add(TurnFigures& sum, const TurnFigures& turn) {
    sum.n_prompt_tokens += turn.n_prompt_tokens;
    sum.n_reused_tokens += turn.n_reused_tokens;
    sum.n_generated += turn.n_generated;
    sum.n_decoded += turn.n_decoded;
    sum.prefill_s += turn.prefill_s;
    sum.decode_s += turn.decode_s;
}

}  // namespace

Chat::Chat(const runtime::Engine& engine, const ChatFormat& format, const ChatOptions& options)
    : tokenizer_(engine.tokenizer()),
      format_(format),
      options_(options),
      session_(engine, options.session),
      sampler_(options.sampler, engine.spec().n_vocab) {
    reset();
}

void Chat::reset() {
    messages_.clear();
    if (!options_.system_prompt.empty())
        messages_.push_back({"system", {"", text::replace_invalid_utf8(options_.system_prompt), {}}});
}

TurnEnd Chat::ask(std::string_view user, const AskOptions& options) {
    const std::size_t n_before = messages_.size();
    messages_.push_back({"user", {"", text::replace_invalid_utf8(user), {}}});
    try {
        const TurnEnd end = answer(options);
        if (end == TurnEnd::not_answered || end == TurnEnd::does_not_fit) messages_.resize(n_before);
        return end;
    } catch (...) {
        messages_.resize(n_before);
        throw;
    }
}

// Adds the answer to the last message.
TurnEnd Chat::answer(const AskOptions& options) {
    const std::string prompt = format_.prompt(messages_);
    const std::vector<text::TokenId> tokens = format_.encode(prompt);
    n_prompt_tokens_ = static_cast<std::int64_t>(tokens.size());
    if (n_prompt_tokens_ >= session_.context_tokens()) return TurnEnd::does_not_fit;
    const std::span<const text::TokenId> rest = runtime::reuse_prefix(session_, tokens);

    text::OutputParser parser(format_.output_format(),
                              {.prompt_suffix = prompt, .tools = "[]", .end_markers = format_.end_markers()});
    const auto show = [&options](const text::OutputMessage& part) {
        if (!part.empty() && options.on_part) options.on_part(part);
    };
    runtime::GenerationOptions generation;
    generation.max_tokens = options_.max_tokens;
    generation.stop = format_.stops();
    generation.show_control_tokens = true;  // the parser reads them
    generation.progress = options.progress;
    generation.cancelled = options.cancelled;
    const runtime::GenerationResult result =
        runtime::generate(session_, tokenizer_, sampler_, rest, generation,
                          [&](std::string_view text) { show(parser.push(text)); });
    show(parser.finish(is_cut_off(result.finish) ? text::OutputEnd::cut_off : text::OutputEnd::complete));

    last_ = {n_prompt_tokens_,   n_prompt_tokens_ - result.n_prompt_tokens,
             result.n_generated, std::max<std::int64_t>(result.n_generated - 1, 0),
             result.prefill_s,   result.decode_s};
    add(all_, last_);
    const TurnEnd end = turn_end(result.finish, !parser.message().empty());
    if (end == TurnEnd::not_answered) return end;
    ++n_turns_;
    messages_.push_back({"assistant", parser.message()});
    return end;
}

}  // namespace greenroom::tools
