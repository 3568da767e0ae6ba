#include "runtime/session_options.h"

#include "quant/base/error.h"
#include "runtime/forward.h"

#include <algorithm>

namespace greenroom::runtime {
namespace {

std::int64_t choose_context(const ModelSpec& spec, const std::string& path, std::int64_t asked) {
    if (asked < 0)
        fail(ErrorKind::bad_input, "a context of {} tokens; expected 0 (automatic) or more", asked);
    if (asked > spec.context_length)
        fail(ErrorKind::bad_input,
             "{}: a context of {} tokens is {} more than the model's {} (metadata {}.context_length). Use -c "
             "{} or less",
             path, asked, asked - spec.context_length, spec.context_length, spec.architecture,
             spec.context_length);
    return asked > 0 ? asked : std::min(spec.context_length, kDefaultContextTokens);
}

}  // namespace

SessionPlan plan_session(const ModelSpec& spec, const std::string& path, const SessionOptions& options,
                         int n_threads) {
    SessionPlan plan;
    plan.context_tokens = choose_context(spec, path, options.context_tokens);
    if (options.batch_tokens < 1)
        fail(ErrorKind::bad_input, "a batch of {} tokens; expected at least 1", options.batch_tokens);
    plan.batch_tokens = std::min(options.batch_tokens, plan.context_tokens);
    plan.activations = options.activations;
    check_kv_types(spec, options.kv_types);
    plan.kv_types = options.kv_types;
    plan.layout =
        kv_layout(spec, options.kv_types, options.window_rows, plan.context_tokens, plan.batch_tokens);
    plan.n_checkpoints = options.n_checkpoints == SessionOptions::kAutoCheckpoints
                             ? default_checkpoints(plan.layout)
                             : options.n_checkpoints;
    plan.memory =
        plan_memory(spec, plan.layout, plan.n_checkpoints, plan.batch_tokens, n_threads, options.activations);
    return plan;
}

std::int64_t bytes_beside_gpu(const ModelSpec& spec, const SessionPlan& plan, LayerRange gpu_layers) {
    if (gpu_layers.first == 0) return plan.memory.beside_gpu_bytes;
    const KvLayout part = plan.layout.part({0, gpu_layers.first});
    return plan.memory.beside_gpu_bytes + part.bytes() + plan.n_checkpoints * part.checkpoint_bytes() +
           working_floats(spec, plan.batch_tokens) * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace greenroom::runtime
