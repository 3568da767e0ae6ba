// greenroom perplexity: how well the model predicts a text, measured as llama-perplexity does.

#include "runtime/perplexity.h"

#include "runtime/engine.h"
#include "tools/command.h"
#include "tools/interrupt.h"
#include "tools/memory_options.h"
#include "tools/options.h"
#include "tools/progress_bar.h"
#include "tools/standard_streams.h"
#include "tools/text_input.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

namespace greenroom::tools {
namespace {

constexpr const char* kExamples =
    R"(The text is cut into chunks of -c tokens; the second half of each counts. The result is comparable with
llama-perplexity's for the same -c. Text that looks like a control token is read as plain text.

Output: PPL = 23.0537 ± 0.5563 (45 chunks of 512 tokens)
With --json: perplexity, standard_error, n_chunks, n_ctx, n_tokens (those that count).

Examples:
  greenroom perplexity -m model.gguf -f wiki.test.raw
  greenroom perplexity -m model.gguf -f text.txt -c 2048 --chunks 10 --json)";

class PerplexityCommand : public Command {
  public:
    explicit PerplexityCommand(CLI::App& program)
        : Command(*program.add_subcommand("perplexity", "Measure how well a model predicts a text")) {
        app_.footer(kExamples);
        add_model_option(app_, model_path_);
        app_.add_option("-f,--file", text_path_, "The text, UTF-8; - reads standard input")
            ->required()
            ->type_name("FILE");
        app_.add_option("-c,--ctx-size", session_options_.context_tokens, "Tokens of a chunk")
            ->check(whole_number(4, kMaxTokens))
            ->type_name("N")
            ->capture_default_str();
        app_.add_option("--chunks", max_chunks_, "Most chunks to evaluate; -1: all")
            ->check(number_of_chunks())
            ->type_name("N")
            ->capture_default_str();
        app_.add_flag("--json", json_, "Print one JSON object");
        add_batch_option(app_, session_options_.batch_tokens);
        add_kv_cache_options(app_, session_options_);
        add_memory_options(app_, memory_);
        add_expert_place_flags(app_, memory_.gpu);
        add_thread_options(app_, threads_);
        add_activations_option(app_, session_options_.activations);
    }

    int run() override {
        const std::string text = read_prompt_file(text_path_);
        ProgressBar bar;
        const auto engine = runtime::Engine::open(model_path_, threads_);
        engine->load_weights(load_options(*engine, StartProfile::find(engine->file()), memory_,
                                          session_options_, bar.reporter()));
        const std::vector<text::TokenId> tokens = engine->tokenizer().encode(
            text, {.special = text::SpecialTokens::literal, .add_bos_eos = text::AddBosEos::as_metadata});
        runtime::Session session(*engine, session_options_);
        const std::int64_t n_ctx = session_options_.context_tokens;

        const runtime::EvaluateOptions options{
            .progress = {}, .cancelled = &catch_interrupt(), .observer = nullptr};
        const auto n_whole = static_cast<std::int64_t>(tokens.size()) / n_ctx;
        const std::int64_t n_chunks = max_chunks_ < 0 ? n_whole : std::min(max_chunks_, n_whole);
        const auto show = [n_chunks, report = bar.reporter()](const runtime::PerplexityResult& so_far) {
            if (report) report(fmt::format("PPL {:.4f}", so_far.perplexity), so_far.n_chunks, n_chunks);
        };
        const runtime::PerplexityResult result = runtime::measure_perplexity(
            session, engine->tokenizer(), tokens, n_ctx, max_chunks_, options, show);
        bar.clear();
        if (result.n_chunks > 0) write_output(json_ ? as_json(result) : as_line(result));
        if (result.n_chunks == n_chunks) return kExitOk;
        write_error(fmt::format("greenroom: interrupted after {} of {} chunks\n", result.n_chunks, n_chunks));
        return kExitFailed;
    }

  private:
    static CLI::Validator number_of_chunks() {
        const auto check = [](std::string& text) {
            const CLI::Validator range = whole_number(-1, kMaxTokens);
            return text == "0" ? "found '0', expected a whole number from 1 on, or -1 (all)" : range(text);
        };
        return CLI::Validator(check, "");
    }

    std::string as_line(const runtime::PerplexityResult& result) const {
        return fmt::format("PPL = {:.4f} ± {:.4f} ({} chunks of {} tokens)\n", result.perplexity,
                           result.standard_error, result.n_chunks, session_options_.context_tokens);
    }

    std::string as_json(const runtime::PerplexityResult& result) const {
        const nlohmann::json object{{"perplexity", result.perplexity},
                                    {"standard_error", result.standard_error},
                                    {"n_chunks", result.n_chunks},
                                    {"n_ctx", session_options_.context_tokens},
                                    {"n_tokens", result.n_tokens}};
        return object.dump() + "\n";
    }

    std::string model_path_;
    std::string text_path_;
    runtime::SessionOptions session_options_{.context_tokens = 512};
    std::int64_t max_chunks_ = -1;
    runtime::ThreadOptions threads_;
    MemoryFlags memory_;
    bool json_ = false;
};

}  // namespace

std::unique_ptr<Command> make_perplexity_command(CLI::App& program) {
    return std::make_unique<PerplexityCommand>(program);
}

}  // namespace greenroom::tools
