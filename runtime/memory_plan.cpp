#include "runtime/memory_plan.h"

#include "cpu/expert_ffn.h"
#include "cpu/ops.h"
#include "quant/base/error.h"
#include "runtime/forward.h"
#include "runtime/scheduler.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

std::optional<std::int64_t> read_number(const std::string& path) {
    std::ifstream in(path);
    std::int64_t value = 0;
    if (in >> value) return value;
    return std::nullopt;  // missing, or "max"
}

// The value of "key  N" lines such as those of memory.stat.
std::int64_t read_keyed(const std::string& path, const std::string& key) {
    std::ifstream in(path);
    std::string name;
    std::int64_t value = 0;
    while (in >> name >> value)
        if (name == key) return value;
    return 0;
}

std::int64_t meminfo_available() {
    std::ifstream in("/proc/meminfo");
    std::string name;
    std::int64_t kib = 0;
    std::string unit;
    while (in >> name >> kib >> unit)
        if (name == "MemAvailable:") return kib * 1024;
    return kUnlimited;
}

// What a cgroup leaves: its limit less what is used beyond page cache that can be dropped. v2, else v1, as a
// container sees its own group at the root of the mount.
std::int64_t cgroup_available() {
    const std::string v2 = "/sys/fs/cgroup/";
    const std::string v1 = "/sys/fs/cgroup/memory/";
    if (const auto limit = read_number(v2 + "memory.max")) {
        const std::int64_t used = read_number(v2 + "memory.current").value_or(0);
        return std::max<std::int64_t>(0, *limit - used + read_keyed(v2 + "memory.stat", "inactive_file"));
    }
    if (const auto limit = read_number(v1 + "memory.limit_in_bytes"); limit && *limit < kUnlimited / 2) {
        const std::int64_t used = read_number(v1 + "memory.usage_in_bytes").value_or(0);
        return std::max<std::int64_t>(0,
                                      *limit - used + read_keyed(v1 + "memory.stat", "total_inactive_file"));
    }
    return kUnlimited;
}

}  // namespace

MemoryPlan plan_memory(const ModelSpec& spec, const KvLayout& layout, int n_checkpoints,
                       std::int64_t batch_tokens, int n_threads, Activations activations) {
    const ModelExtent extent = extent_of(spec);
    const std::int64_t floats =
        Forward<cpu::Ops>::working_floats(spec, batch_tokens) +
        n_threads * cpu::Ops::scratch_floats_needed(extent.max_row, extent.max_experts, layout.context_tokens,
                                                    extent.max_kv_row) +
        kLogitsRows * spec.n_vocab;
    MemoryPlan plan;
    plan.kv_cache_bytes = layout.bytes();
    plan.checkpoint_bytes = n_checkpoints * layout.checkpoint_bytes();
    plan.working_bytes = floats * static_cast<std::int64_t>(sizeof(float)) +
                         ExpertScheduler::working_bytes(spec, batch_tokens) +
                         activation_blocks_needed(spec, batch_tokens, activations) *
                             static_cast<std::int64_t>(sizeof(cpu::ActivationBlock));
    return plan;
}

std::int64_t activation_blocks_needed(const ModelSpec& spec, std::int64_t batch_tokens,
                                      Activations activations) noexcept {
    if (activations == Activations::f32) return 0;
    const ModelExtent extent = extent_of(spec);
    // Two terms, except in experts.
    std::int64_t per_token =
        std::max(2 * cpu::activation_blocks(extent.max_row),
                 cpu::expert_activation_blocks(1, spec.d_model, extent.max_top_k, extent.max_expert_d_ff));
    for (const LayerSpec& layer : spec.layers)  // products per head
        if (const auto* mla = std::get_if<MlaSpec>(&layer.attention))
            per_token =
                std::max(per_token,
                         2 * mla->n_heads * cpu::activation_blocks(std::max(mla->nope_dim, mla->latent_dim)));
    return batch_tokens * per_token;
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

std::int64_t available_memory_bytes() { return std::min(meminfo_available(), cgroup_available()); }

}  // namespace greenroom::runtime
