#pragma once

// The flags that say how much memory the model may have and how its experts are kept in it.

#include "quant/base/log.h"
#include "runtime/engine.h"
#include "tools/gpu_options.h"
#include "tools/memory_size.h"
#include "tools/profile_file.h"

#include <CLI/CLI.hpp>

namespace greenroom::tools {

struct MemoryFlags {
    MemorySize ram;  // not given: what is available, less a reserve
    runtime::ExpertOptions experts;
    GpuFlags gpu;
};

// --ram SIZE, --cache-policy NAME, --cache-scope NAME, --prefetch-layers N, and those of the GPU that take a
// value
void add_memory_options(CLI::App& app, MemoryFlags& flags);

// All that evaluating takes, but for the size of the context: -b, the KV cache, the flags above, -cmoe, -ot,
// -t, -tb, --cpu-strict and --activations.
void add_evaluation_options(CLI::App& app, runtime::SessionOptions& session, MemoryFlags& memory,
                            runtime::ThreadOptions& threads);

// Tokens of a batch for a session of this kind, where -b is not given: as many as the profile says, if the
// GPU has room for them. Where --ram limits memory, no more than the session has: the rest is for experts.
std::int64_t choose_batch(const runtime::Engine& engine, const StartProfile& profile,
                          const MemoryFlags& flags, runtime::SessionOptions session);

// For one session of this kind, of the model that the engine has opened and the profile is for. Without a
// profile that knows the GPU it is measured while the model is loaded. Bad usage: see gpu_options().
runtime::LoadOptions load_options(const runtime::Engine& engine, const StartProfile& profile,
                                  const MemoryFlags& flags, const runtime::SessionOptions& session,
                                  ProgressFn progress);

}  // namespace greenroom::tools
