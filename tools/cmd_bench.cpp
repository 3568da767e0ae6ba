// greenroom bench: how fast the model reads a prompt and generates on this machine, measured as llama-bench
// does.

#include "quant/base/log.h"
#include "runtime/engine.h"
#include "runtime/model_inventory.h"
#include "tools/bench_report.h"
#include "tools/command.h"
#include "tools/flag_lists.h"
#include "tools/interrupt.h"
#include "tools/measure_speed.h"
#include "tools/memory_options.h"
#include "tools/options.h"
#include "tools/printable.h"
#include "tools/profile_file.h"
#include "tools/progress_bar.h"
#include "tools/standard_streams.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::tools {
namespace {

constexpr const char* kExamples =
    R"(Three kinds of tests: pp512 evaluates a prompt of 512 tokens, tg128 generates 128 tokens one by one,
pp512+tg128 does both. With " @ d4096" there are 4096 tokens before what is timed. The figure is the mean and
standard deviation, over the repetitions, of tokens per second. Tokens are random, and nothing is sampled, as
in llama-bench.

Flags of tests, evaluating, memory and the GPU take lists (-t 1,2 or -t 1 -t 2); every combination is measured. The
table has a column for each that is given. The model is loaded once for each combination of -t and the flags
of memory and the GPU, with room for the largest test; before the first test, experts are read until memory is
full. Into VRAM they come when they are called: the first figures with a GPU are those of a cold cache.

-o csv, json and jsonl have for each test: build_version, build_has_assertions, cpu_info, cpu_isa, backends,
  gpu_info, model_filename, model_type, model_size, model_n_params, n_batch, n_threads, n_threads_batch, type_k, type_v, activations,
  ram_budget, resident_weights, kv_cache, working_memory, n_experts, n_experts_in_memory, cache_policy,
  cache_scope, prefetch_layers, hit_rate, bytes_read, stall_us (these three while the clock ran; µs waited for
  the disk), n_gpu_layers (the output counted), vram_budget, vram_used, n_experts_in_vram (slots), vram_hits,
  vram_misses, vram_uploads, vram_hit_rate, stream_above (tokens per expert; null: never), batches_streamed,
  bytes_streamed, pcie_bytes, cpu_share (of calls; all from vram_hits on but stream_above while the clock ran;
  with a GPU), warmup, n_prompt, n_gen, n_depth, test_time, avg_ns, stddev_ns, avg_ts, stddev_ts, samples_ns,
  samples_ts, peak_rss (of the program so far). Sizes in bytes.

Examples:
  greenroom bench -m model.gguf
  greenroom bench -m model.gguf -p 0 -n 64 -t 1,2,4,8
  greenroom bench -m model.gguf -p 512,2048 -n 0 -b 128,512 -r 3
  greenroom bench -m model.gguf -p 0 -n 128 --ram 25%,50%,100% --cache-policy learned,lru
  greenroom bench -m model.gguf -p 0 -n 128 --vram 4GiB,8GiB,12GiB -ncmoe 0,8
  greenroom bench -m model.gguf -p 4096 -n 0 -b 256,2048 --stream-above 0,off
  greenroom bench -m model.gguf -pg 2048,256 -d 0,8192 -o json > speed.json)";

// What the model is loaded with.
struct LoadSettings {
    MemoryFlags memory;
    runtime::ThreadOptions threads;

    static void add_flags(CLI::App& app, LoadSettings& settings) {
        add_memory_options(app, settings.memory);
        add_thread_options(app, settings.threads);
    }
};

void add_session_flags(CLI::App& app, runtime::SessionOptions& options) {
    add_batch_option(app, options.batch_tokens);
    add_kv_type_options(app, options.kv_types);
    add_activations_option(app, options.activations);
}

std::int64_t parse_count(const std::string& flag, std::string text, std::int64_t least) {
    const std::string mistake = whole_number(least, kMaxTokens)(text);
    if (!mistake.empty()) bad_usage(flag, mistake);
    std::int64_t count = 0;
    std::from_chars(text.data(), text.data() + text.size(), count);
    return count;
}

class BenchCommand : public Command {
  public:
    explicit BenchCommand(CLI::App& program)
        : Command(*program.add_subcommand("bench", "Measure how fast a model is on this machine")) {
        app_.footer(kExamples);
        add_model_option(app_, model_path_);
        add_test_option("-p,--n-prompt", n_prompt_, "N", "Tokens of the prompt; 0: no such test", "512");
        add_test_option("-n,--n-gen", n_gen_, "N", "Tokens to generate; 0: no such test", "128");
        add_test_option(
            "--n-prompt-gen", n_prompt_gen_, "PP,TG",
            "-pg: tokens of a prompt and tokens to generate after it, as one test. May be repeated", "");
        add_test_option("-d,--n-depth", n_depth_, "N", "Tokens that are there before what is timed", "0");
        app_.add_option("-r,--repetitions", options_.n_repetitions, "Times that each test is repeated")
            ->check(whole_number(1, 1'000'000))
            ->type_name("N")
            ->capture_default_str();
        app_.add_flag_callback(
            "--no-warmup", [this] { options_.warmup = Warmup::no; },
            "Time everything from the first token on, and read no experts before");
        app_.add_option_function<std::string>(
                "-o,--output", [this](const std::string& name) { format_ = kFormats.at(name); },
                "How results are printed: md (a table), csv, json or jsonl")
            ->check(one_of({"md", "csv", "json", "jsonl"}))
            ->type_name("FORMAT")
            ->default_str("md");
        sessions_.add_to(app_);
        loads_.add_to(app_);
    }

    int run() override {
        const std::vector<SpeedTest> tests = requested_tests();
        const Loads loads = loads_.combinations();
        const Sessions sessions = sessions_.combinations();
        profile_ = StartProfile::find(model_path_);

        BenchReport report(format_);
        std::size_t n_done = 0;
        try {
            for (const auto& load : loads)
                if (!measure_all(load, sessions, tests, report, n_done)) break;
        } catch (...) {
            report.end();
            throw;
        }
        report.end();
        const std::size_t n_all = loads.size() * sessions.size() * tests.size();
        if (n_done == n_all) return kExitOk;
        write_error(fmt::format("greenroom: interrupted after {} of {} tests\n", n_done, n_all));
        return kExitFailed;
    }

  private:
    using Loads = std::vector<FlagLists<LoadSettings>::Combination>;
    using Sessions = std::vector<FlagLists<runtime::SessionOptions>::Combination>;

    static inline const std::map<std::string, BenchFormat> kFormats = {{"md", BenchFormat::md},
                                                                       {"csv", BenchFormat::csv},
                                                                       {"json", BenchFormat::json},
                                                                       {"jsonl", BenchFormat::jsonl}};

    static bool is_given(const std::vector<GivenFlag>& flags, const std::string& name) {
        return std::ranges::any_of(flags, [&](const GivenFlag& flag) { return flag.first == name; });
    }

    void add_test_option(const std::string& flag, std::vector<std::string>& texts, const std::string& type,
                         const std::string& help, const std::string& otherwise) {
        app_.add_option(flag, texts, help)->allow_extra_args(false)->type_name(type)->default_str(otherwise);
    }

    static std::vector<std::int64_t> counts(const std::string& flag, const std::vector<std::string>& texts,
                                            std::int64_t otherwise) {
        if (texts.empty()) return {otherwise};
        std::vector<std::int64_t> counts;
        for (const std::string& text : split_lists(flag, texts)) counts.push_back(parse_count(flag, text, 0));
        return counts;
    }

    // At each depth those of -p, of -n and of -pg.
    std::vector<SpeedTest> requested_tests() const {
        std::vector<SpeedTest> at_no_depth;
        for (const std::int64_t n : counts("--n-prompt", n_prompt_, 512))
            if (n > 0) at_no_depth.push_back({.n_prompt = n});
        for (const std::int64_t n : counts("--n-gen", n_gen_, 128))
            if (n > 0) at_no_depth.push_back({.n_gen = n});
        for (const std::string& text : n_prompt_gen_) {
            const std::string flag = "--n-prompt-gen";
            const std::vector<std::string> pair = split_lists(flag, {text});
            if (pair.size() != 2)
                bad_usage(flag,
                          fmt::format("found '{}', expected two numbers of tokens, as in 512,128", text));
            at_no_depth.push_back(
                {.n_prompt = parse_count(flag, pair[0], 1), .n_gen = parse_count(flag, pair[1], 1)});
        }
        if (at_no_depth.empty())
            bad_usage("--n-prompt",
                      "found 0, and --n-gen 0 too: nothing to measure. Expected one of them above "
                      "0, or -pg PP,TG");
        std::vector<SpeedTest> tests;
        for (const std::int64_t depth : counts("--n-depth", n_depth_, 0))
            for (SpeedTest test : at_no_depth) {
                test.n_depth = depth;
                tests.push_back(test);
            }
        return tests;
    }

    static void check_context(const runtime::Engine& engine, const std::vector<SpeedTest>& tests) {
        const std::int64_t most = engine.spec().context_length;
        for (const SpeedTest& test : tests) {
            if (test.n_tokens() <= most) continue;
            const bool is_depth = test.n_timed() <= most;
            const std::string flag = is_depth                              ? "--n-depth"
                                     : test.n_prompt > 0 && test.n_gen > 0 ? "--n-prompt-gen"
                                     : test.n_prompt > 0                   ? "--n-prompt"
                                                                           : "--n-gen";
            bad_usage(flag,
                      fmt::format("found {}, which takes {} tokens; expected at most {}, the context of {}",
                                  test.name(), test.n_tokens(), most, engine.file().path()));
        }
    }

    static runtime::SessionOptions session_for(const SpeedTest& test, runtime::SessionOptions options) {
        options.context_tokens = test.n_tokens();
        options.n_checkpoints = 0;  // a depth that cannot be gone back to is evaluated again
        return options;
    }

    // The session that takes the most memory.
    static runtime::SessionOptions largest_session(const runtime::Engine& engine, const Sessions& sessions,
                                                   const std::vector<SpeedTest>& tests) {
        runtime::SessionOptions largest;
        std::int64_t most_bytes = -1;
        for (const auto& session : sessions)
            for (const SpeedTest& test : tests) {
                const runtime::SessionOptions options = session_for(test, session.settings);
                const std::int64_t bytes =
                    runtime::plan_session(engine.spec(), engine.file().path(), options, engine.team_size())
                        .memory.total();
                if (bytes <= most_bytes) continue;
                most_bytes = bytes;
                largest = options;
            }
        return largest;
    }

    // The model can be loaded. Until here Ctrl-C ends the program, which has nothing to print yet.
    void begin_measuring() {
        options_.cancelled = &catch_interrupt();
        if (build_has_assertions())
            log_warning("this build checks itself while it runs; a release build is faster");
    }

    // All tests with one engine. False when interrupted; n_done counts the tests that were reported.
    bool measure_all(const FlagLists<LoadSettings>::Combination& load, Sessions sessions,
                     const std::vector<SpeedTest>& tests, BenchReport& report, std::size_t& n_done) {
        ProgressBar bar;
        const auto engine = runtime::Engine::open(model_path_, profile_.threads(load.settings.threads));
        check_context(*engine, tests);
        for (auto& [settings, given] : sessions)
            if (!is_given(given, "--batch-size"))
                settings.batch_tokens =
                    choose_batch(*engine, profile_, load.settings.memory,
                                 largest_session(*engine, Sessions{{settings, given}}, tests));
        engine->load_weights(load_options(*engine, profile_, load.settings.memory,
                                          largest_session(*engine, sessions, tests), bar.reporter()));
        const runtime::ModelInventory model = runtime::take_inventory(engine->file());
        bar.clear();
        write_error(device_text(*engine));
        if (options_.cancelled == nullptr) begin_measuring();
        options_.progress = bar.reporter();
        if (options_.warmup == Warmup::yes) fill_expert_slots(*engine, options_.progress, options_.cancelled);

        for (const auto& combination : sessions)
            for (const SpeedTest& test : tests) {
                if (*options_.cancelled) return false;
                const runtime::SessionOptions options = session_for(test, combination.settings);
                runtime::Session session(*engine, options);
                const auto speed = measure_speed(*engine, session, test, options_);
                bar.clear();
                if (!speed) return false;
                std::vector<GivenFlag> given = load.given;
                given.insert(given.end(), combination.given.begin(), combination.given.end());
                report.add({.engine = *engine,
                            .model = model,
                            .session = session,
                            .options = options,
                            .given = given,
                            .test = test,
                            .warmup = options_.warmup,
                            .speed = *speed});
                ++n_done;
            }
        return true;
    }

    std::string model_path_;
    StartProfile profile_;
    std::vector<std::string> n_prompt_;
    std::vector<std::string> n_gen_;
    std::vector<std::string> n_prompt_gen_;
    std::vector<std::string> n_depth_;
    SpeedOptions options_;
    BenchFormat format_ = BenchFormat::md;
    FlagLists<runtime::SessionOptions> sessions_{add_session_flags};
    FlagLists<LoadSettings> loads_{LoadSettings::add_flags};
};

}  // namespace

std::unique_ptr<Command> make_bench_command(CLI::App& program) {
    return std::make_unique<BenchCommand>(program);
}

}  // namespace greenroom::tools
