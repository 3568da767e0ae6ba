#pragma once

// The groups of flags that several commands share, and the checks of their values. Names are those of
// llama.cpp where it has the flag, and so are defaults but for those that cost memory.
//
// The variables that flags are bound to must live until the command line is parsed.

#include "quant/base/op_params.h"
#include "runtime/sampler.h"
#include "runtime/session.h"
#include "runtime/thread_options.h"

#include <CLI/CLI.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace greenroom::tools {

// -m FILE
void add_model_option(CLI::App& app, std::string& path);

// -t N, -tb N, --cpu-strict 0|1
void add_thread_options(CLI::App& app, runtime::ThreadOptions& threads);

// -b N
void add_batch_option(CLI::App& app, std::int64_t& batch_tokens);

// -ctk TYPE, -ctv TYPE
void add_kv_type_options(CLI::App& app, runtime::KvTypes& types);

// The same, --swa-full, --ctx-checkpoints N
void add_kv_cache_options(CLI::App& app, runtime::SessionOptions& options);

// --activations int8|int16|f32
void add_activations_option(CLI::App& app, Activations& activations);

// --temp, --top-k, --seed and so on
void add_sampling_options(CLI::App& app, runtime::SamplerOptions& options);

// Accepts a whole number from least to most, and nothing else.
CLI::Validator whole_number(std::int64_t least, std::int64_t most);

// Accepts a number from least to most; never NaN.
CLI::Validator number(double least, double most);

// Accepts these words and nothing else.
CLI::Validator one_of(std::vector<std::string> words);

// Accepts everything but nothing: what a shell makes of "$UNSET".
CLI::Validator file_name();

// The largest number of tokens that a flag takes: far above every model, far below every overflow.
inline constexpr std::int64_t kMaxTokens = 1'000'000'000;

// The arguments without the program's name, with llama.cpp's flags of several letters behind one dash (-ctk)
// as the long names that they stand for.
std::vector<std::string> spell_out(int argc, const char* const* argv);

// A mistake in the command line that no check of a single flag can find: exit code 2.
[[noreturn]] void bad_usage(const std::string& flag, const std::string& message);

}  // namespace greenroom::tools
