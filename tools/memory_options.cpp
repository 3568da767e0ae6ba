#include "tools/memory_options.h"

#include "cache/policies.h"
#include "quant/base/error.h"
#include "runtime/available_memory.h"
#include "tools/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <utility>

namespace greenroom::tools {

void add_memory_options(CLI::App& app, MemoryFlags& flags) {
    constexpr const char* kGroup = "Memory";
    app.add_option_function<std::string>(
           "--ram", [&flags](const std::string& text) { flags.ram = parse_memory_size("--ram", text); },
           fmt::format("Memory for everything: {}. Experts that do not fit into it stay on the disk",
                       kMemorySizeHelp))
        ->type_name("SIZE")
        ->default_str("what is available, less a reserve")
        ->group(kGroup);
    const auto names = cache::policy_names();
    app.add_option("--cache-policy", flags.experts.policy,
                   fmt::format("Who stays in memory: {}", fmt::join(names, ", ")))
        ->check(one_of({names.begin(), names.end()}))
        ->type_name("NAME")
        ->capture_default_str()
        ->group(kGroup);
    app.add_option_function<std::string>(
           "--cache-scope",
           [&flags](const std::string& name) {
               flags.experts.scope = name == "global" ? cache::Scope::global : cache::Scope::layer;
           },
           "Who competes for memory: the experts of a layer, or all")
        ->check(one_of({"layer", "global"}))
        ->type_name("layer|global")
        ->default_str(std::string(cache::scope_name(flags.experts.scope)))
        ->group(kGroup);
    app.add_option("--prefetch-layers", flags.experts.prefetch_layers,
                   "Layers ahead for which experts are guessed and read; 0: none")
        ->check(whole_number(0, runtime::ExpertOptions::kMaxPrefetchLayers))
        ->type_name("N")
        ->capture_default_str()
        ->group(kGroup);
    add_gpu_options(app, flags.gpu);
}

void add_evaluation_options(CLI::App& app, runtime::SessionOptions& session, MemoryFlags& memory,
                            runtime::ThreadOptions& threads) {
    add_batch_option(app, session.batch_tokens);
    add_kv_cache_options(app, session);
    add_memory_options(app, memory);
    add_expert_place_flags(app, memory.gpu);
    add_thread_options(app, threads);
    add_activations_option(app, session.activations);
}

std::int64_t choose_batch(const runtime::Engine& engine, const StartProfile& profile,
                          const MemoryFlags& flags, runtime::SessionOptions session) {
    const std::int64_t otherwise = session.batch_tokens;
    if (!profile.profile) return otherwise;
    session.batch_tokens = profile.profile->tuning.batch_tokens;
    if (flags.ram.is_given()) session.batch_tokens = std::min(session.batch_tokens, otherwise);
    if (session.batch_tokens <= otherwise) return session.batch_tokens;
    const runtime::GpuOptions gpu = gpu_options(flags.gpu, engine);
    if (gpu.use == runtime::GpuOptions::Use::off) return session.batch_tokens;
    // Not at the cost of a layer. Loading says what there is to say about the GPU.
    runtime::SessionOptions smaller = session;
    smaller.batch_tokens = otherwise;
    const auto layers = engine.gpu_layers(gpu, session);
    return layers && layers == engine.gpu_layers(gpu, smaller) ? session.batch_tokens : otherwise;
}

runtime::LoadOptions load_options(const runtime::Engine& engine, const StartProfile& profile,
                                  const MemoryFlags& flags, const runtime::SessionOptions& session,
                                  ProgressFn progress) {
    runtime::LoadOptions options;
    options.progress = std::move(progress);
    options.ram_bytes = flags.ram.is_given() ? flags.ram.of(runtime::available_memory_bytes()) : 0;
    options.experts = flags.experts;
    options.gpu = gpu_options(flags.gpu, engine);
    options.gpu.tuning = profile.gpu();
    options.gpu.measures = !options.gpu.tuning;
    options.session = session;
    return options;
}

}  // namespace greenroom::tools
