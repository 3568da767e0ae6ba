#include "runtime/gpu_plan.h"

#include "gpu/device.h"
#include "gpu/memory.h"
#include "gpu/ops.h"
#include "quant/base/error.h"
#include "runtime/decode_graph.h"
#include "runtime/device_mover.h"
#include "runtime/device_weights.h"
#include "runtime/forward.h"
#include "runtime/hybrid_experts.h"
#include "runtime/memory_plan.h"
#include "runtime/staged_copies.h"
#include "runtime/staged_upload.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <variant>
#include <vector>

namespace greenroom::runtime {
namespace {

// For the display, for what CUDA takes for its kernels, and for other programs' growth.
std::int64_t reserve_of(std::int64_t free_bytes) {
    constexpr std::int64_t kLeast = std::int64_t{256} << 20;
    return std::min(free_bytes / 4, kLeast + free_bytes / 32);
}

// Of the table of expert slots, at most, and what rounding adds to it and to the slots.
std::int64_t table_bytes(const ModelSpec& spec) {
    constexpr std::int64_t kRounding = 1024;
    return spec.n_layers() * extent_of(spec).max_experts * static_cast<std::int64_t>(sizeof(std::byte*)) +
           kRounding;
}

double mib(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// The least that the GPU has to hold.
struct Needs {
    std::int64_t resident = 0;
    std::int64_t sessions = 0;

    std::int64_t total() const noexcept { return resident + sessions; }
};

Needs needs_of(const GpuModel& model, LayerRange layers, const SessionPlan& session, int n_sessions) {
    return {DeviceWeights::bytes_needed(model.weights, layers) + table_bytes(model.spec),
            n_sessions * device_session_bytes(model.spec, model.weights, layers, session)};
}

// The last n of the model's layers, its output counted: llama.cpp's -ngl n.
LayerRange last_layers(const ModelSpec& spec, int n) {
    const LayerRange all = all_layers(spec.n_layers());
    return {std::max(all.end - n, 0), all.end};
}

// Most of the last layers that fit, from 0 on; the more, the more they need.
int most_layers(const GpuModel& model, const SessionPlan& session, int n_sessions, std::int64_t bytes) {
    int fits = 0;
    int too_many = all_layers(model.spec.n_layers()).size() + 1;
    while (too_many - fits > 1) {
        const int n = (fits + too_many) / 2;
        const bool n_fit = needs_of(model, last_layers(model.spec, n), session, n_sessions).total() <= bytes;
        (n_fit ? fits : too_many) = n;
    }
    return fits;
}

}  // namespace

std::int64_t largest_expert_bytes(const GpuModel& model) {
    std::int64_t largest = 0;
    for (const LayerWeights& layer : model.weights.layers)
        if (const auto* moe = std::get_if<MoeFfnWeights>(&layer.ffn))
            largest = std::max(largest, VramSlotLayout(moe->experts.front()).slot_bytes);
    return largest;
}

std::int64_t device_scratch_bytes(const ModelSpec& spec, const Weights& weights, LayerRange layers,
                                  const SessionPlan& plan) {
    std::int64_t most = 0;
    const auto take = [&most](std::int64_t bytes) { most = std::max(most, bytes); };
    Weights all = weights;
    for_each_resident(
        all, layers,
        [&](TensorView& w) {
            // One of a stack may be used transposed.
            const std::int64_t n_in = w.shape[2] > 1 ? std::max(w.shape[0], w.shape[1]) : w.shape[0];
            take(gpu::matmul_scratch_bytes(w.type, plan.activations, plan.batch_tokens, n_in, w.shape[2]));
        },
        [](FloatArray&) {});
    constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
    for (int i = layers.first; i < std::min(layers.end, spec.n_layers()); ++i) {
        const AttentionSpec& attention = spec.layers[static_cast<std::size_t>(i)].attention;
        if (const auto* mla = std::get_if<MlaSpec>(&attention)) {
            take(kFloat * gpu::mla_scratch_floats(mla->shape(), plan.batch_tokens, plan.context_tokens));
            if (mla->indexer.n_heads > 0)
                take(kFloat * gpu::indexer_scratch_floats(plan.batch_tokens, plan.context_tokens));
        } else if (const auto* gqa = std::get_if<GqaSpec>(&attention)) {
            take(kFloat * gpu::gqa_scratch_floats(gqa->shape, plan.batch_tokens, plan.context_tokens));
        }
    }
    take(HybridExperts::scratch_bytes(spec, layers, weights, plan.activations, plan.batch_tokens));
    return most;
}

std::int64_t device_session_bytes(const ModelSpec& spec, const Weights& weights, LayerRange layers,
                                  const SessionPlan& plan) {
    // Each buffer is rounded up to whole 256 bytes.
    constexpr std::int64_t kBufferRound = 256;
    const std::int64_t n_buffers = 60 + 3 * spec.n_layers() + plan.n_checkpoints;
    const std::int64_t floats = working_floats(spec, plan.batch_tokens) + kLogitsRows * spec.n_vocab;
    const KvLayout part = plan.layout.part(layers);
    return floats * static_cast<std::int64_t>(sizeof(float)) + part.bytes() +
           plan.n_checkpoints * part.checkpoint_bytes() + device_scratch_bytes(spec, weights, layers, plan) +
           HybridExperts::device_bytes(spec, plan.batch_tokens) + DecodeGraph::device_bytes(spec) +
           n_buffers * kBufferRound;
}

GpuPlan plan_gpu(const GpuModel& model, const GpuOptions& options, const SessionPlan& session,
                 int n_sessions) {
    const std::vector<gpu::DeviceInfo> devices = gpu::list_devices();
    if (devices.empty()) fail(ErrorKind::device, "no GPU can be used: {}", gpu::gpu_status());
    const gpu::DeviceInfo& first = devices.front();
    if (!first.supported())
        fail(ErrorKind::unsupported,
             "{} has compute capability {}.{}; expected 7.5 or more. CUDA_VISIBLE_DEVICES chooses another",
             first.name, first.compute_major, first.compute_minor);
    const std::int64_t free_bytes = gpu::free_device_bytes();
    if (options.vram_bytes > free_bytes)
        fail(ErrorKind::out_of_memory,
             "--vram: {:.1f} MiB asked for, {:.1f} MiB are free. Use --vram {}MiB or less",
             mib(options.vram_bytes), mib(free_bytes), free_bytes >> 20);
    GpuPlan plan;
    plan.device_name = first.name;
    plan.budget_bytes = options.vram_bytes > 0 ? options.vram_bytes : free_bytes - reserve_of(free_bytes);

    const int n_all = all_layers(model.spec.n_layers()).size();
    // The output alone is not worth a GPU, unless it is what was asked for.
    const int n_least = options.n_layers ? std::min(*options.n_layers, n_all) : std::min(2, n_all);
    const int n_most = most_layers(model, session, n_sessions, plan.budget_bytes);
    if (n_most < n_least) {
        const Needs needs = needs_of(model, last_layers(model.spec, n_least), session, n_sessions);
        const std::string who = n_least == n_all    ? fmt::format("the model's {} layers need", n_all - 1)
                                : n_least == 1      ? "the output needs"
                                : !options.n_layers ? "a single layer and the output need"
                                                    : fmt::format("-ngl {} needs", n_least);
        fail(ErrorKind::out_of_memory,
             "{}: on the GPU, {} {:.1f} MiB for the weights that every token needs and {:.1f} MiB for "
             "the context; {:.1f} MiB {}. Use {}a smaller context (-c) or batch (-b), a smaller file, or "
             "the CPU alone (-ngl 0)",
             model.file.path(), who, mib(needs.resident), mib(needs.sessions), mib(plan.budget_bytes),
             options.vram_bytes > 0 ? "is what --vram allows" : "can be had",
             n_most > 0 ? fmt::format("-ngl {} or less, ", n_most) : "");
    }
    plan.layers = last_layers(model.spec, options.n_layers ? n_least : n_most);
    plan.resident_bytes = DeviceWeights::bytes_needed(model.weights, plan.layers);
    if (const std::int64_t largest = largest_expert_bytes(model); largest > 0)
        plan.ring_bytes = StagedCopies::bytes_needed(largest);
    if (model.reader != nullptr)
        plan.staging_bytes = staging_bytes(plan.resident_bytes, model.reader->alignment());
    return plan;
}

}  // namespace greenroom::runtime
