#include "tools/options.h"

#include "quant/base/error.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

namespace greenroom::tools {
namespace {

constexpr std::string_view kSamplingGroup = "Sampling";
constexpr std::string_view kKvCacheGroup = "KV cache";

// All of the text as a number, or nothing.
template <class T>
std::optional<T> parse_number(std::string_view text) {
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

// A shell user may write +0.5.
std::string_view without_plus(std::string_view text) {
    if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
    return text;
}

std::optional<std::uint64_t> parse_seed(const std::string& text) {
    if (text == "-1") return std::nullopt;
    const auto seed = parse_number<std::uint64_t>(text);
    if (!seed)
        bad_usage("--seed",
                  fmt::format("found '{}', expected a whole number from 0 on, or -1 (random)", text));
    return seed;
}

// TOKEN+BIAS or TOKEN-BIAS.
runtime::LogitBias parse_logit_bias(const std::string& text) {
    const std::size_t sign = text.find_first_of("+-");
    if (sign != std::string::npos) {
        const auto token = parse_number<std::int32_t>(std::string_view(text).substr(0, sign));
        const auto size = parse_number<float>(std::string_view(text).substr(sign + 1));
        if (token && size && *size >= 0.0F &&
            (text[sign] == '-' || *size <= std::numeric_limits<float>::max()))
            return {*token, text[sign] == '-' ? -*size : *size};
    }
    bad_usage("--logit-bias",
              fmt::format("found '{}', expected TOKEN+BIAS or TOKEN-BIAS, as in 15043+1.5 or 2-inf", text));
}

}  // namespace

CLI::Validator whole_number(std::int64_t least, std::int64_t most) {
    const auto check = [least, most](std::string& text) {
        const auto value = parse_number<std::int64_t>(text);
        if (value && *value >= least && *value <= most) return std::string();
        return fmt::format("found '{}', expected a whole number from {} to {}", text, least, most);
    };
    return CLI::Validator(check, "");
}

CLI::Validator number(double least, double most) {
    const auto check = [least, most](std::string& text) {
        const auto value = parse_number<double>(without_plus(text));
        if (value && *value >= least && *value <= most) return std::string();
        return fmt::format("found '{}', expected a number from {} to {}", text, least, most);
    };
    return CLI::Validator(check, "");
}

CLI::Validator one_of(std::vector<std::string> words) {
    const auto check = [words = std::move(words)](std::string& text) {
        if (std::ranges::find(words, text) != words.end()) return std::string();
        return fmt::format("found '{}', expected {}", text, fmt::join(words, ", "));
    };
    return CLI::Validator(check, "");
}

CLI::Validator file_name() {
    const auto check = [](std::string& text) {
        return std::string(text.empty() ? "found '', expected the name of a file" : "");
    };
    return CLI::Validator(check, "");
}

void add_model_option(CLI::App& app, std::string& path) {
    app.add_option("-m,--model", path, "The model: a GGUF file, or the first part of a split one")
        ->required()
        ->check(file_name())
        ->type_name("FILE");
}

void add_thread_options(CLI::App& app, runtime::ThreadOptions& threads) {
    app.add_option("-t,--threads", threads.n_threads,
                   "Threads to compute with; 0: one per physical core that the process may use")
        ->check(whole_number(0, 1024))
        ->type_name("N")
        ->capture_default_str();
    app.add_option("--threads-batch", threads.n_threads_batch,
                   "-tb: threads for prompts (batches of more than one token); 0: as -t")
        ->check(whole_number(0, 1024))
        ->type_name("N")
        ->capture_default_str();
    app.add_option_function<std::string>(
           "--cpu-strict",
           [&threads](const std::string& strict) {
               threads.placement = strict == "1" ? cpu::Placement::own_core : cpu::Placement::anywhere;
           },
           "1: each thread stays on a core of its own, if there are as many; 0: where the system puts it")
        ->check(one_of({"0", "1"}))
        ->type_name("0|1")
        ->default_str("0");
}

void add_batch_option(CLI::App& app, std::int64_t& batch_tokens) {
    app.add_option("-b,--batch-size", batch_tokens, "Prompt tokens to evaluate at a time")
        ->check(whole_number(1, 65536))
        ->type_name("N")
        ->capture_default_str();
}

void add_kv_type_options(CLI::App& app, runtime::KvTypes& types) {
    const std::string group(kKvCacheGroup);
    const auto add_type = [&](const std::string& flag, quant::Type& type, const std::string& what) {
        app.add_option_function<std::string>(
               flag,
               [flag, &type](const std::string& name) {
                   try {
                       type = runtime::parse_kv_type(name);
                   } catch (const Error& error) {
                       bad_usage(flag, error.what());
                   }
               },
               what + " in the cache: f32, f16, bf16, q8_0 or q4_0")
            ->type_name("TYPE")
            ->default_str(std::string(runtime::kv_type_name(type)))
            ->group(group);
    };
    add_type("--cache-type-k", types.keys, "-ctk: type of the keys (and of MLA's latents)");
    add_type("--cache-type-v", types.values, "-ctv: type of the values");
}

void add_kv_cache_options(CLI::App& app, runtime::SessionOptions& options) {
    const std::string group(kKvCacheGroup);
    add_kv_type_options(app, options.kv_types);
    app.add_flag_callback(
           "--swa-full", [&options] { options.window_rows = runtime::WindowRows::full; },
           "Keep all of a sliding window's layers, not just the window")
        ->group(group);
    app.add_option(
           "--ctx-checkpoints", options.n_checkpoints,
           "Places to go back to, for models with a recurrent state or sliding windows; -1: as many as "
           "fit into 512 MiB, at most 8")
        ->check(whole_number(-1, 1024))
        ->type_name("N")
        ->capture_default_str()
        ->group(group);
}

void add_activations_option(CLI::App& app, Activations& activations) {
    app.add_option_function<std::string>(
           "--activations",
           [&activations](const std::string& name) {
               for (const Activations kind : {Activations::f32, Activations::int16, Activations::int8})
                   if (name == activations_name(kind)) activations = kind;
           },
           "How activations meet quantized weights: int8, as integers of 8 bits in experts and of 15 "
           "elsewhere; "
           "int16, of 15 bits everywhere; f32, slowest and exact")
        ->check(one_of({"int8", "int16", "f32"}))
        ->type_name("KIND")
        ->default_str(activations_name(activations));
}

void add_sampling_options(CLI::App& app, runtime::SamplerOptions& options) {
    const auto add = [&app](const std::string& flag, auto& value, const std::string& help,
                            CLI::Validator check) {
        app.add_option(flag, value, help)
            ->check(std::move(check))
            ->type_name("N")
            ->capture_default_str()
            ->group(std::string(kSamplingGroup));
    };
    constexpr int kMostInt = std::numeric_limits<int>::max();
    add("--temp,--temperature", options.temperature,
        "Above 1 bolder, below 1 safer; 0: always the likeliest token", number(0, 1000));
    add("--top-k", options.top_k, "Choose among the K likeliest tokens; 0: all", whole_number(0, kMostInt));
    add("--top-p", options.top_p,
        "Choose among the likeliest tokens that have this probability together; 1: all", number(0, 1));
    add("--min-p", options.min_p, "Leave out tokens less likely than this times the likeliest; 0: none",
        number(0, 1));
    app.add_option_function<std::string>(
           "-s,--seed", [&options](const std::string& text) { options.seed = parse_seed(text); },
           "The same seed gives the same answer; -1: a random one")
        ->type_name("N")
        ->default_str("-1")
        ->group(std::string(kSamplingGroup));
    add("--repeat-last-n", options.penalty_last_n, "Tokens that the penalties look back at; 0: off, -1: all",
        whole_number(-1, 1 << 20));
    add("--repeat-penalty", options.repeat_penalty,
        "Divide the logits of tokens that have occurred by this (multiply negative ones); 1: off",
        number(0.001, 1000));
    add("--presence-penalty", options.presence_penalty,
        "Subtract this from the logits of tokens that have occurred", number(-1000, 1000));
    add("--frequency-penalty", options.frequency_penalty,
        "Subtract this from the logit of a token for each time it has occurred", number(-1000, 1000));
    app.add_option_function<std::vector<std::string>>(
           "-l,--logit-bias",
           [&options](const std::vector<std::string>& texts) {
               for (const std::string& text : texts) options.logit_bias.push_back(parse_logit_bias(text));
           },
           "Add to a token's logit, as in 15043+1.5; 2-inf bans token 2. May be repeated")
        ->allow_extra_args(false)
        ->type_name("TOKEN(+|-)BIAS")
        ->group(std::string(kSamplingGroup));
}

std::vector<std::string> spell_out(int argc, const char* const* argv) {
    struct Flag {
        std::string_view short_name;
        std::string_view long_name;
    };
    // Also of flags that are not taken here, so that -fa is refused by its name and not taken for -f a.
    constexpr std::array<Flag, 26> kFlags{{{"-cb", "--cont-batching"},
                                           {"-cmoe", "--cpu-moe"},
                                           {"-cnv", "--conversation"},
                                           {"-ctk", "--cache-type-k"},
                                           {"-ctv", "--cache-type-v"},
                                           {"-dev", "--device"},
                                           {"-fa", "--flash-attn"},
                                           {"-hf", "--hf-repo"},
                                           {"-hff", "--hf-file"},
                                           {"-mg", "--main-gpu"},
                                           {"-mmp", "--mmap"},
                                           {"-mu", "--model-url"},
                                           {"-ncmoe", "--n-cpu-moe"},
                                           {"-ngl", "--gpu-layers"},
                                           {"-nkvo", "--no-kv-offload"},
                                           {"-no-cnv", "--no-conversation"},
                                           {"-np", "--parallel"},
                                           {"-ot", "--override-tensor"},
                                           {"-pg", "--n-prompt-gen"},
                                           {"-sm", "--split-mode"},
                                           {"-st", "--single-turn"},
                                           {"-sys", "--system-prompt"},
                                           {"-sysf", "--system-prompt-file"},
                                           {"-tb", "--threads-batch"},
                                           {"-ts", "--tensor-split"},
                                           {"-ub", "--ubatch-size"}}};
    std::vector<std::string> arguments(argv + 1, argv + argc);
    for (std::string& argument : arguments) {
        if (argument == "--") break;
        const auto* flag = std::find_if(kFlags.begin(), kFlags.end(),
                                        [&](const Flag& f) { return f.short_name == argument; });
        if (flag != kFlags.end()) argument = flag->long_name;
    }
    return arguments;
}

void bad_usage(const std::string& flag, const std::string& message) {
    throw CLI::ValidationError(flag, message);
}

}  // namespace greenroom::tools
