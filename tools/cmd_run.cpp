// greenroom run: continues a prompt, as text, on standard output.

#include "runtime/engine.h"
#include "runtime/generation.h"
#include "runtime/memory_budget.h"
#include "tools/command.h"
#include "tools/expert_report.h"
#include "tools/interrupt.h"
#include "tools/memory_options.h"
#include "tools/options.h"
#include "tools/partial_file.h"
#include "tools/printable.h"
#include "tools/profile_file.h"
#include "tools/progress_bar.h"
#include "tools/standard_streams.h"
#include "tools/text_input.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>

namespace greenroom::tools {
namespace {

constexpr const char* kExamples =
    R"(The answer, and nothing else, goes to standard output; figures go to standard error. Control tokens in the
prompt (<|im_start|>) are read as such. Ctrl-C ends the answer, a second one the program.

Examples:
  greenroom run -m model.gguf -p "Once upon a time" -n 100
  greenroom run -m model.gguf -f prompt.txt --temp 0 -q > answer.txt
  greenroom run -m model.gguf -p "Q: Why?\nA:" --stop "\n" --seed 7
  git diff | greenroom run -m model.gguf -f - -n 200)";

std::string_view finish_text(runtime::Finish finish) {
    switch (finish) {
        case runtime::Finish::end_of_generation:
            return "the model ended the answer";
        case runtime::Finish::stop_text:
            return "stop text";
        case runtime::Finish::max_tokens:
            return "limit of -n";
        case runtime::Finish::context_full:
            return "context full (-c)";
        case runtime::Finish::cancelled:
            return "interrupted";
    }
    return "";
}

std::string speed_text(std::int64_t n_tokens, double seconds) {
    return n_tokens > 0 && seconds > 0
               ? fmt::format(" ({:.1f} tok/s)", static_cast<double>(n_tokens) / seconds)
               : "";
}

class Stopwatch {
  public:
    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    }

  private:
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

class RunCommand : public Command {
  public:
    explicit RunCommand(CLI::App& program)
        : Command(*program.add_subcommand("run", "Continue a prompt")), input_(app_, "The prompt") {
        app_.footer(kExamples);
        add_model_option(app_, model_path_);
        app_.add_option("-n,--predict,--n-predict", options_.max_tokens,
                        "Most tokens to generate; -1: until the model ends or the context is full")
            ->check(whole_number(-1, kMaxTokens))
            ->type_name("N")
            ->capture_default_str();
        app_.add_option("--stop,-r,--reverse-prompt", options_.stop,
                        "End the answer before this text. May be repeated")
            ->allow_extra_args(false)
            ->type_name("TEXT");
        app_.add_flag("--ignore-eos", options_.ignore_end_of_generation,
                      "Never choose a token that ends the answer");
        app_.add_flag("--special", options_.show_control_tokens, "Show control tokens in the answer");
        app_.add_flag("--display-prompt", display_prompt_, "Print the prompt before the answer");
        app_.add_flag("--no-display-prompt")->group("");  // llama.cpp's name for what is the default here
        app_.add_flag("-q,--quiet", quiet_, "Neither the device before the answer nor figures after it");
        app_.add_flag("--stats", stats_,
                      "After the figures also those of the experts: hits, reads, waits, layers");
        app_.add_option("--stats-json", stats_path_, "Write all figures to this file, as JSON")
            ->check(file_name())
            ->type_name("FILE");
        app_.add_option(
                "-c,--ctx-size", session_options_.context_tokens,
                "Tokens that the context holds; 0: what the prompt and -n need, at least 4096, at most the "
                "model's")
            ->check(whole_number(0, kMaxTokens))
            ->type_name("N")
            ->capture_default_str();
        add_evaluation_options(app_, session_options_, memory_, threads_);
        add_sampling_options(app_, sampler_options_);
    }

    int run() override {
        input_.require();
        if (input_.escapes())
            for (std::string& stop : options_.stop) stop = unescape(stop);
        const std::string prompt = input_.prompt();
        if (!stats_path_.empty()) check_can_create(stats_path_);

        ProgressBar bar;
        const StartProfile profile = StartProfile::find(model_path_);
        const auto engine = runtime::Engine::open(model_path_, profile.threads(threads_));
        const std::vector<text::TokenId> tokens = encode(engine->tokenizer(), prompt);
        if (options_.ignore_end_of_generation)
            for (const runtime::LogitBias& ban : runtime::end_of_generation_bans(engine->tokenizer()))
                sampler_options_.logit_bias.push_back(ban);
        runtime::Sampler sampler(sampler_options_, engine->spec().n_vocab);
        session_options_.context_tokens =
            choose_context(engine->spec(), static_cast<std::int64_t>(tokens.size()));
        if (app_.count("--batch-size") == 0)
            session_options_.batch_tokens = choose_batch(*engine, profile, memory_, session_options_);
        const Stopwatch since_load;
        engine->load_weights(load_options(*engine, profile, memory_, session_options_, bar.reporter()));
        runtime::Session session(*engine, session_options_);
        const double load_s = since_load.seconds();
        if (!quiet_) {
            bar.clear();
            write_error(device_text(*engine));
        }

        options_.progress = bar.reporter();
        options_.cancelled = &catch_interrupt();
        char last = '\n';
        const auto print = [&bar, &last](std::string_view text) {
            if (text.empty()) return;
            bar.clear();
            write_output(text);
            last = text.back();
        };
        if (display_prompt_) print(prompt);
        const runtime::GenerationResult result =
            runtime::generate(session, engine->tokenizer(), sampler, tokens, options_, print);
        bar.clear();
        // The shell's prompt should not stick to the answer; a file gets the answer alone.
        if (last != '\n' && output_is_terminal()) write_output("\n");
        if (!quiet_) print_figures(*engine, session, result, load_s, sampler.seed());
        if (stats_)
            write_error(fmt::format("profile   {}\n", profile_text(profile)) + expert_report_text(*engine));
        if (!stats_path_.empty()) write_stats(*engine, profile, result, load_s);
        return kExitOk;
    }

  private:
    std::vector<text::TokenId> encode(const text::Tokenizer& tokenizer, const std::string& prompt) const {
        std::vector<text::TokenId> tokens = tokenizer.encode(
            prompt, {.special = text::SpecialTokens::parse, .add_bos_eos = text::AddBosEos::as_metadata});
        // A text that is to be continued does not end.
        if (tokenizer.adds_eos() && !tokens.empty()) tokens.pop_back();
        if (tokens.empty())
            bad_usage("--prompt", "the prompt is empty, and this model needs at least one token");
        return tokens;
    }

    std::int64_t choose_context(const runtime::ModelSpec& spec, std::int64_t n_prompt) const {
        if (session_options_.context_tokens > 0) return session_options_.context_tokens;
        constexpr std::int64_t kLeast = runtime::kDefaultContextTokens;
        const std::int64_t n_answer = options_.max_tokens < 0 ? kLeast : options_.max_tokens;
        return std::min(std::max(n_prompt + n_answer, kLeast), spec.context_length);
    }

    static void print_figures(const runtime::Engine& engine, const runtime::Session& session,
                              const runtime::GenerationResult& result, double load_s, std::uint64_t seed) {
        // The first generated token comes from the prompt's logits; the others took a step each.
        write_error(fmt::format(
            "loaded in {:.2f} s | prompt {} tokens{} | generated {} tokens{} | weights {}, KV cache {}, "
            "checkpoints {}, working {}, peak RSS {} | "
            "seed {} | ended by: {}\n",
            load_s, result.n_prompt_tokens, speed_text(result.n_prompt_tokens, result.prefill_s),
            result.n_generated, speed_text(result.n_generated - 1, result.decode_s), weights_text(engine),
            human_bytes(session.kv_cache_bytes()), human_bytes(session.checkpoint_bytes()),
            human_bytes(session.working_bytes()), human_bytes(runtime::peak_resident_set_bytes()), seed,
            finish_text(result.finish)));
    }

    static std::string weights_text(const runtime::Engine& engine) {
        std::string resident = human_bytes(engine.resident_weights_bytes());
        const runtime::RamTier* tier = engine.experts();
        if (tier == nullptr) return resident;
        const std::string slots = human_bytes(tier->plan().total_bytes());
        if (tier->plan().n_kept() == tier->layouts().n_all()) return fmt::format("{} + {}", resident, slots);
        return fmt::format("{} + {} of {:.0f} % of the experts", resident, slots,
                           100.0 * static_cast<double>(tier->plan().n_kept()) /
                               static_cast<double>(tier->layouts().n_all()));
    }

    std::string profile_text(const StartProfile& profile) const {
        return profile.describe(threads_, session_options_.batch_tokens);
    }

    void write_stats(const runtime::Engine& engine, const StartProfile& profile,
                     const runtime::GenerationResult& result, double load_s) const {
        nlohmann::ordered_json stats = expert_report_json(engine);
        stats["profile"] = profile_text(profile);
        stats["run"] = {{"load_s", load_s},
                        {"prompt_tokens", result.n_prompt_tokens},
                        {"prefill_s", result.prefill_s},
                        {"generated_tokens", result.n_generated},
                        {"decode_s", result.decode_s},
                        {"peak_rss", runtime::peak_resident_set_bytes()}};
        // The profile's path may be no UTF-8.
        constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;
        write_file(stats_path_, stats.dump(1, ' ', false, kReplace) + "\n");
    }

    TextInput input_;
    std::string model_path_;
    runtime::ThreadOptions threads_;
    bool display_prompt_ = false;
    bool quiet_ = false;
    bool stats_ = false;
    std::string stats_path_;
    MemoryFlags memory_;
    runtime::GenerationOptions options_;
    runtime::SessionOptions session_options_;
    runtime::SamplerOptions sampler_options_;
};

}  // namespace

std::unique_ptr<Command> make_run_command(CLI::App& program) { return std::make_unique<RunCommand>(program); }

}  // namespace greenroom::tools
