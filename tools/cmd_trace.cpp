// greenroom trace: records what a model's routers choose on texts, for `greenroom simulate`.

#include "cache/trace.h"
#include "quant/base/error.h"
#include "runtime/available_memory.h"
#include "runtime/engine.h"
#include "runtime/generation.h"
#include "runtime/sampler.h"
#include "runtime/session.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/memory_options.h"
#include "tools/options.h"
#include "tools/partial_folder.h"
#include "tools/printable.h"
#include "tools/progress_bar.h"
#include "tools/standard_streams.h"
#include "tools/text_input.h"
#include "tools/trace_recorder.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace greenroom::tools {
namespace {

constexpr const char* kExamples =
    R"(Each -f is a text of its own. One that is longer than -c is evaluated in contexts of -c tokens, each of which
begins anew (with BOS, where the model wants one). With -n the model goes on after each text; so that it can, the last
context leaves room. Control tokens in a text (<|im_start|>) are read as such.

DIR gets arrays in .npy format, C order. T tokens, L layers with experts, K experts per token of E:
  trace.json       {"tokens": T, "layers": L, "k": K, "n_expert": E}
  experts.npy      uint16  [T, L, K]  the chosen experts, the likeliest first
  weights.npy      float16 [T, L, K]  what their outputs are multiplied by
  scores.npy       float16 [T, L, E]  the router's probability of every expert
  predicted_D.npy  uint16  [T, L, K]  what the router would choose from the state of the D-th layer with experts
                                      before it, D from 1 to 3; 65535 where there is none
  sequence.npy     int32   [T]        number of the context
  phase.npy        uint8   [T]        0: from the text, 1: generated

Examples:
  greenroom trace -m model.gguf -f chat.txt -f code.txt -o traces/mixed
  greenroom trace -m model.gguf -f prompt.txt -n 500 -o traces/answer
  greenroom trace -m model.gguf -f book.txt -c 2048 --max-tokens 100000 --no-scores -o traces/book
  greenroom simulate --trace traces/book)";

struct Text {
    std::string path;
    std::string text;
};

// What is evaluated in one go, from an empty timeline on.
struct Context {
    const std::string* path;
    std::vector<text::TokenId> tokens;
    std::int64_t n_generated = 0;  // at most, afterwards
};

class TraceCommand : public Command {
  public:
    explicit TraceCommand(CLI::App& program)
        : Command(*program.add_subcommand("trace", "Record which experts a model chooses on texts")) {
        app_.footer(kExamples);
        add_model_option(app_, model_path_);
        app_.add_option("-f,--file", text_paths_, "A text, UTF-8; - reads standard input. May be repeated")
            ->required()
            ->allow_extra_args(false)
            ->type_name("FILE");
        app_.add_option(
                "-o,--output", output_path_,
                "The folder that the trace goes to: a new one, an empty one, or that of a trace, which "
                "is replaced")
            ->required()
            ->check(file_name())
            ->type_name("DIR");
        app_.add_option("-n,--predict,--n-predict", n_predict_,
                        "Tokens to generate after each text, at most: the model may end before")
            ->check(whole_number(0, kMaxTokens))
            ->type_name("N")
            ->capture_default_str();
        app_.add_flag("--ignore-eos", ignore_eos_, "Never generate a token that ends the answer");
        app_.add_option("--max-tokens", max_tokens_, "Most tokens of each text to evaluate; 0: all")
            ->check(whole_number(0, kMaxTokens))
            ->type_name("N")
            ->capture_default_str();
        app_.add_flag("--no-scores", no_scores_, "Leave out scores.npy, by far the largest file");
        app_.add_option("-c,--ctx-size", session_options_.context_tokens,
                        "Tokens that a context holds; 0: as many as the model was trained for, at most 4096")
            ->check(whole_number(0, kMaxTokens))
            ->type_name("N")
            ->capture_default_str();
        add_evaluation_options(app_, session_options_, memory_, threads_);
        add_sampling_options(app_, sampler_options_);
    }

    int run() override {
        std::vector<Text> texts;
        for (const std::string& path : text_paths_) texts.push_back({path, read_prompt_file(path)});
        PartialFolder folder(output_path_, cache::trace_files());

        ProgressBar bar;
        std::unique_ptr<runtime::Engine> engine = runtime::Engine::open(model_path_, threads_);
        const text::Tokenizer& tokenizer = engine->tokenizer();
        const TraceShape shape = trace_shape(engine->spec(), model_path_);
        if (ignore_eos_)
            for (const runtime::LogitBias& ban : runtime::end_of_generation_bans(tokenizer))
                sampler_options_.logit_bias.push_back(ban);
        const runtime::Sampler sampler(sampler_options_, engine->spec().n_vocab);
        session_options_.n_checkpoints = 0;  // nobody goes back
        const std::int64_t context_tokens =
            runtime::plan_session(engine->spec(), model_path_, session_options_, engine->team_size())
                .context_tokens;

        std::vector<Context> contexts;
        std::int64_t n_tokens = 0;
        for (const Text& text : texts)
            for (Context& context : contexts_of(text, tokenizer, context_tokens)) {
                n_tokens += static_cast<std::int64_t>(context.tokens.size()) + context.n_generated;
                contexts.push_back(std::move(context));
            }
        const TraceScores scores = no_scores_ ? TraceScores::left_out : TraceScores::recorded;
        folder.check_room(trace_file_bytes(shape, n_tokens, scores));
        check_memory(shape, n_tokens, scores);
        TraceRecorder recorder(shape, n_tokens, scores);
        // The model's weights get what the trace leaves.
        engine->load_weights(load_options(*engine, StartProfile::find(engine->file()), memory_,
                                          session_options_, bar.reporter()));
        auto session = std::make_unique<runtime::Session>(*engine, session_options_);

        const std::atomic<bool>& interrupted = catch_interrupt();
        for (const Context& context : contexts) {
            const auto report = [&, show = bar.reporter()](std::string_view, std::int64_t, std::int64_t) {
                if (show) show(printable(*context.path, 30), recorder.trace().n_tokens, n_tokens);
            };
            const runtime::EvaluateOptions options{
                .progress = report, .cancelled = &interrupted, .observer = &recorder};
            if (record(context, *session, recorder, tokenizer, sampler, options)) continue;
            bar.clear();
            write_error("greenroom: interrupted; nothing was written\n");
            return kExitFailed;
        }
        bar.clear();
        // Writing takes some memory.
        session.reset();
        engine.reset();
        cache::write_trace(folder.partial_path(), recorder.trace());
        folder.commit();
        return kExitOk;
    }

  private:
    static runtime::SamplerOptions greedy() {
        runtime::SamplerOptions options;
        options.temperature = 0;
        return options;
    }

    // The text in pieces that fit into the context; the last one leaves room for what is generated, and has
    // as much of the text before that as it can.
    std::vector<Context> contexts_of(const Text& text, const text::Tokenizer& tokenizer,
                                     std::int64_t context_tokens) const {
        std::vector<text::TokenId> tokens = tokenizer.encode(text.text);
        if (max_tokens_ > 0 && static_cast<std::int64_t>(tokens.size()) > max_tokens_)
            tokens.resize(static_cast<std::size_t>(max_tokens_));
        if (tokens.empty())
            fail(ErrorKind::bad_input, "{}: the text is empty; expected at least a character",
                 text.path == "-" ? "standard input" : text.path);

        std::vector<text::TokenId> beginning;
        if (tokenizer.adds_bos() && tokenizer.bos()) beginning.push_back(*tokenizer.bos());
        const std::int64_t capacity = context_tokens - static_cast<std::int64_t>(beginning.size());
        if (capacity - n_predict_ < 1)
            bad_usage(
                "--ctx-size",
                fmt::format("contexts of {} tokens have no room for a token of the text{}", context_tokens,
                            n_predict_ > 0 ? fmt::format(" and {} to generate (-n)", n_predict_) : ""));
        const auto n_tokens = static_cast<std::int64_t>(tokens.size());
        const std::int64_t n_last = n_predict_ > 0 ? std::min(n_tokens, capacity - n_predict_) : 0;
        std::vector<Context> contexts;
        for (std::int64_t at = 0; at < n_tokens;) {
            const std::int64_t end =
                at < n_tokens - n_last ? std::min(at + capacity, n_tokens - n_last) : n_tokens;
            Context& context = contexts.emplace_back(Context{&text.path, beginning});
            context.tokens.insert(context.tokens.end(), tokens.begin() + at, tokens.begin() + end);
            at = end;
        }
        contexts.back().n_generated = n_predict_;
        return contexts;
    }

    // The trace is kept until all is evaluated. What is left for the model is found out when it is loaded.
    static void check_memory(const TraceShape& shape, std::int64_t n_tokens, TraceScores scores) {
        const std::int64_t needed = trace_memory_bytes(shape, n_tokens, scores);
        const std::int64_t available = runtime::available_memory_bytes();
        if (needed <= available) return;
        fail(ErrorKind::out_of_memory,
             "a trace of {} tokens takes {} of memory; {} are available. Use --max-tokens{}, or make several "
             "traces",
             n_tokens, human_bytes(needed), human_bytes(available),
             scores == TraceScores::recorded ? " or --no-scores" : "");
    }

    // False when it was interrupted.
    static bool record(const Context& context, runtime::Session& session, TraceRecorder& recorder,
                       const text::Tokenizer& tokenizer, runtime::Sampler sampler,
                       const runtime::EvaluateOptions& options) {
        session.truncate(0);
        recorder.begin_text();
        if (session.evaluate(context.tokens, options) == runtime::Evaluated::cancelled) return false;
        for (const text::TokenId token : context.tokens) sampler.accept(token);

        recorder.set_phase(TracePhase::decode);
        for (std::int64_t i = 0; i < context.n_generated; ++i) {
            const text::TokenId token = sampler.sample(session.logits());
            if (tokenizer.is_end_of_generation(token)) break;
            sampler.accept(token);
            if (session.evaluate({&token, 1}, options) == runtime::Evaluated::cancelled) return false;
        }
        return true;
    }

    std::string model_path_;
    std::vector<std::string> text_paths_;
    std::string output_path_;
    std::int64_t n_predict_ = 0;
    std::int64_t max_tokens_ = 0;
    bool no_scores_ = false;
    bool ignore_eos_ = false;
    runtime::ThreadOptions threads_;
    MemoryFlags memory_;
    runtime::SessionOptions session_options_;
    runtime::SamplerOptions sampler_options_ = greedy();
};

}  // namespace

std::unique_ptr<Command> make_trace_command(CLI::App& program) {
    return std::make_unique<TraceCommand>(program);
}

}  // namespace greenroom::tools
