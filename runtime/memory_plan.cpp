#include "runtime/memory_plan.h"

#include "cpu/expert_ffn.h"
#include "cpu/ops.h"
#include "quant/base/error.h"
#include "runtime/forward.h"
#include "runtime/scheduler.h"

#include <algorithm>

namespace greenroom::runtime {

MemoryPlan plan_memory(const ModelSpec& spec, const KvLayout& layout, int n_checkpoints,
                       std::int64_t batch_tokens, int n_threads, Activations activations) {
    constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
    const std::int64_t resident_floats = working_floats(spec, batch_tokens) + kLogitsRows * spec.n_vocab;
    const std::int64_t cpu_bytes = n_threads * scratch_floats_needed(spec, layout.context_tokens) * kFloat +
                                   ExpertScheduler::working_bytes(spec, batch_tokens) +
                                   activation_blocks_needed(spec, batch_tokens, activations) *
                                       static_cast<std::int64_t>(sizeof(cpu::ActivationBlock));
    // Experts and factors of each call, shown and told, these for a layer that is split, a guess, and two
    // that are streamed; the tokens' inputs and sums, and what the CPU's layers hand over.
    const std::int64_t shared_floats = 12 * batch_tokens * extent_of(spec).max_top_k +
                                       3 * batch_tokens * spec.d_model + read_back_floats(spec, batch_tokens);
    MemoryPlan plan;
    plan.kv_cache_bytes = layout.bytes();
    plan.checkpoint_bytes = n_checkpoints * layout.checkpoint_bytes();
    plan.working_bytes = resident_floats * kFloat + cpu_bytes;
    plan.beside_gpu_bytes = shared_floats * kFloat + cpu_bytes;
    return plan;
}

std::int64_t read_back_floats(const ModelSpec& spec, std::int64_t batch_tokens) noexcept {
    return std::max({kLogitsRows * spec.n_vocab, batch_tokens * spec.d_model,
                     batch_tokens * extent_of(spec).max_experts});
}

std::int64_t scratch_floats_needed(const ModelSpec& spec, std::int64_t context_tokens) noexcept {
    const ModelExtent extent = extent_of(spec);
    return cpu::Ops::scratch_floats_needed(extent.max_row, extent.max_experts, extent.max_kv_row,
                                           extent.max_indexer_row, context_tokens);
}

std::int64_t activation_blocks_needed(const ModelSpec& spec, std::int64_t batch_tokens,
                                      Activations activations) noexcept {
    if (activations == Activations::f32) return 0;
    const ModelExtent extent = extent_of(spec);
    std::int64_t per_token =
        std::max(cpu::activation_blocks(extent.max_row),
                 cpu::expert_activation_blocks(1, spec.d_model, extent.max_top_k, extent.max_expert_d_ff));
    for (const LayerSpec& layer : spec.layers)  // products per head
        if (const auto* mla = std::get_if<MlaSpec>(&layer.attention))
            per_token = std::max(
                per_token, mla->n_heads * cpu::activation_blocks(std::max(mla->nope_dim, mla->latent_dim)));
    return batch_tokens * per_token;
}

cpu::ProductPlanes product_planes(Activations activations) noexcept {
    cpu::ProductPlanes planes;
    if (activations == Activations::int8) planes.experts = cpu::Planes::high;
    return planes;
}

void check_plan(const MemoryPlan& plan, const KvLayout& layout, std::int64_t available_bytes) {
    if (plan.total() <= available_bytes) return;
    const std::int64_t per_token = layout.bytes_per_token();
    const std::int64_t fixed = plan.total() - per_token * layout.context_tokens;
    const std::int64_t fits = per_token > 0 ? (available_bytes - fixed) / per_token : 0;
    constexpr double kMiB = 1024.0 * 1024.0;
    const auto mib = [](std::int64_t bytes) { return static_cast<double>(bytes) / kMiB; };
    fail(
        ErrorKind::out_of_memory,
        "a context of {} tokens needs {:.1f} MiB for the KV cache, {:.1f} MiB for checkpoints and {:.1f} MiB "
        "to work in; {:.1f} MiB are available. {}",
        layout.context_tokens, mib(plan.kv_cache_bytes), mib(plan.checkpoint_bytes), mib(plan.working_bytes),
        mib(available_bytes),
        fits > 0 ? fmt::format("Use -c {} or less, or smaller types (-ctk q8_0 -ctv q8_0)", fits)
                 : "Use a smaller batch (-b) or free some memory");
}

}  // namespace greenroom::runtime
