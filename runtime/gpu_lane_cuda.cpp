#include "cpu/ops.h"
#include "gpu/device.h"
#include "gpu/memory.h"
#include "gpu/ops.h"
#include "gpu/stream.h"
#include "quant/base/error.h"
#include "runtime/decode_graph.h"
#include "runtime/device_weights.h"
#include "runtime/gpu_lane.h"
#include "runtime/graphed_evaluator.h"
#include "runtime/hybrid_experts.h"
#include "runtime/memory_plan.h"
#include "runtime/vram_tier.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace greenroom::runtime {
namespace {

static_assert(Ops<gpu::Ops>);
static_assert(Experts<HybridExperts>);

// For the display, for what CUDA takes for its kernels, and for other programs' growth.
std::int64_t reserve_of(std::int64_t free_bytes) {
    constexpr std::int64_t kLeast = std::int64_t{256} << 20;
    return std::min(free_bytes / 4, kLeast + free_bytes / 32);
}

// Of any operation of a batch.
std::int64_t scratch_bytes(const ModelSpec& spec, const Weights& weights, const SessionPlan& plan) {
    std::int64_t most = 0;
    const auto take = [&most](std::int64_t bytes) { most = std::max(most, bytes); };
    Weights all = weights;
    for_each_resident(
        all,
        [&](TensorView& w) {
            // One of a stack may be used transposed.
            const std::int64_t n_in = w.shape[2] > 1 ? std::max(w.shape[0], w.shape[1]) : w.shape[0];
            take(gpu::matmul_scratch_bytes(w.type, plan.activations, plan.batch_tokens, n_in, w.shape[2]));
        },
        [](FloatArray&) {});
    constexpr auto kFloat = static_cast<std::int64_t>(sizeof(float));
    for (const LayerSpec& layer : spec.layers) {
        if (const auto* mla = std::get_if<MlaSpec>(&layer.attention)) {
            take(kFloat * gpu::mla_scratch_floats(mla->shape(), plan.batch_tokens, plan.context_tokens));
            if (mla->indexer.n_heads > 0)
                take(kFloat * gpu::indexer_scratch_floats(plan.batch_tokens, plan.context_tokens));
        } else if (const auto* gqa = std::get_if<GqaSpec>(&layer.attention)) {
            take(kFloat * gpu::gqa_scratch_floats(gqa->shape, plan.batch_tokens, plan.context_tokens));
        }
    }
    take(HybridExperts::scratch_bytes(spec, weights, plan.activations, plan.batch_tokens));
    return most;
}

std::int64_t session_bytes(const ModelSpec& spec, const Weights& weights, const SessionPlan& plan) {
    // Each buffer is rounded up to whole 256 bytes.
    constexpr std::int64_t kBufferRound = 256;
    const std::int64_t n_buffers = 60 + 3 * spec.n_layers() + plan.n_checkpoints;
    const std::int64_t floats = working_floats(spec, plan.batch_tokens) + kLogitsRows * spec.n_vocab;
    return floats * static_cast<std::int64_t>(sizeof(float)) + plan.memory.kv_cache_bytes +
           plan.memory.checkpoint_bytes + scratch_bytes(spec, weights, plan) +
           HybridExperts::device_bytes(spec, plan.batch_tokens) + DecodeGraph::device_bytes(spec) +
           n_buffers * kBufferRound;
}

// Of the table of expert slots, at most, and what rounding adds to it and to the slots.
std::int64_t table_bytes(const ModelSpec& spec) {
    constexpr std::int64_t kRounding = 1024;
    return spec.n_layers() * extent_of(spec).max_experts * static_cast<std::int64_t>(sizeof(std::byte*)) +
           kRounding;
}

double mib(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// What is asked of a GPU before anything is copied to it.
struct DevicePlan {
    std::string device_name;
    std::int64_t budget_bytes = 0;
};

DevicePlan plan_device(const GpuModel& model, const GpuOptions& options, const SessionPlan& session,
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
    DevicePlan plan{first.name,
                    options.vram_bytes > 0 ? options.vram_bytes : free_bytes - reserve_of(free_bytes)};

    const std::int64_t resident = DeviceWeights::bytes_needed(model.weights) + table_bytes(model.spec);
    const std::int64_t sessions = n_sessions * session_bytes(model.spec, model.weights, session);
    if (resident + sessions > plan.budget_bytes)
        fail(ErrorKind::out_of_memory,
             "{}: needs {:.1f} MiB of the GPU's memory for the weights that every token needs and {:.1f} MiB "
             "for the context; {:.1f} MiB {}. Use a smaller context (-c) or batch (-b), a smaller file, or "
             "the "
             "CPU alone (-ngl 0)",
             model.path, mib(resident), mib(sessions), mib(plan.budget_bytes),
             options.vram_bytes > 0 ? "is what --vram allows" : "can be had");
    return plan;
}

class CudaLane final : public GpuLane {
  public:
    CudaLane(const GpuModel& model, const GpuOptions& options, const SessionPlan& session, int n_sessions)
        : CudaLane(model, options, session, n_sessions, plan_device(model, options, session, n_sessions)) {}

    std::unique_ptr<Evaluator> make_evaluator(const SessionPlan& plan) override {
        const ModelSpec& spec = model_.spec;
        const std::int64_t bytes = session_bytes(spec, model_.weights, plan);
        if (bytes > budget_.free_bytes())
            fail(ErrorKind::out_of_memory,
                 "a context of {} tokens needs {:.1f} MiB of the GPU's memory; {:.1f} MiB are left for it. "
                 "Use a "
                 "smaller context (-c) or batch (-b), or smaller types (-ctk q8_0 -ctv q8_0)",
                 plan.context_tokens, mib(bytes), mib(budget_.free_bytes()));
        gpu::OpsOptions options;
        options.activations = plan.activations;
        options.scratch_bytes = scratch_bytes(spec, model_.weights, plan);
        options.read_back_floats = read_back_floats(spec, plan.batch_tokens);
        auto ops = std::make_unique<gpu::Ops>(budget_, options);
        auto cpu_ops =
            std::make_unique<cpu::Ops>(model_.threads, scratch_floats_needed(spec, plan.context_tokens),
                                       activation_blocks_needed(spec, plan.batch_tokens, plan.activations),
                                       product_planes(plan.activations));
        auto misses = std::make_unique<ExpertScheduler>(spec, model_.weights, *cpu_ops, model_.experts,
                                                        plan.batch_tokens);
        auto experts = std::make_unique<HybridExperts>(
            spec, weights_.weights(), budget_, *ops, experts_.get(),
            HybridExperts::Misses{std::move(cpu_ops), std::move(misses)}, plan.batch_tokens);
        return std::make_unique<GraphedEvaluator>(spec, weights_.weights(), plan, experts_.get(),
                                                  std::move(ops), std::move(experts));
    }

    GpuUsage usage() const override {
        GpuUsage usage;
        usage.device_name = device_name_;
        usage.total_bytes = budget_.total_bytes();
        usage.used_bytes = budget_.used_bytes();
        usage.resident_bytes = weights_.bytes();
        if (experts_ == nullptr) return usage;
        usage.expert_bytes = experts_->bytes();
        usage.n_slots = experts_->n_slots();
        usage.n_on_stage = experts_->n_resident();
        usage.experts = experts_->counters();
        return usage;
    }

  private:
    CudaLane(const GpuModel& model, const GpuOptions& options, const SessionPlan& session, int n_sessions,
             const DevicePlan& plan)
        : model_(model),
          device_name_(plan.device_name),
          budget_(plan.budget_bytes),
          weights_(upload(model.weights, budget_)) {
        if (model.experts == nullptr) return;
        const std::int64_t rest =
            budget_.free_bytes() - n_sessions * session_bytes(model.spec, model.weights, session);
        std::int64_t bytes = std::min(
            rest, VramTier::most_bytes(model.experts->layouts(), model.weights, options.n_cpu_expert_layers));
        if (options.max_expert_bytes > 0) bytes = std::min(bytes, options.max_expert_bytes);
        experts_ = std::make_unique<VramTier>(*model.experts, model.weights, budget_, bytes,
                                              options.n_cpu_expert_layers);
    }

    static DeviceWeights upload(const Weights& weights, gpu::DeviceBudget& budget) {
        gpu::Stream stream;
        return DeviceWeights(weights, budget, stream);
    }

    GpuModel model_;
    std::string device_name_;
    gpu::DeviceBudget budget_;
    DeviceWeights weights_;
    std::unique_ptr<VramTier> experts_;
};

}  // namespace

bool GpuLane::is_built() noexcept { return true; }

void GpuLane::check(const GpuModel& model, const GpuOptions& options, const SessionPlan& session,
                    int n_sessions) {
    plan_device(model, options, session, n_sessions);
}

std::unique_ptr<GpuLane> GpuLane::open(const GpuModel& model, const GpuOptions& options,
                                       const SessionPlan& session, int n_sessions) {
    return std::make_unique<CudaLane>(model, options, session, n_sessions);
}

}  // namespace greenroom::runtime
