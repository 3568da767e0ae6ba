#include "cpu/ops.h"
#include "gpu/memory.h"
#include "gpu/ops.h"
#include "gpu/stream.h"
#include "quant/base/error.h"
#include "runtime/device_weights.h"
#include "runtime/gpu_lane.h"
#include "runtime/gpu_plan.h"
#include "runtime/graphed_evaluator.h"
#include "runtime/hybrid_experts.h"
#include "runtime/layer_streamer.h"
#include "runtime/memory_plan.h"
#include "runtime/pinned_experts.h"
#include "runtime/split_evaluator.h"
#include "runtime/vram_tier.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

namespace greenroom::runtime {
namespace {

static_assert(Ops<gpu::Ops>);
static_assert(Experts<HybridExperts>);

double mib(std::int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

// In rising order: those that the CPU runs, and those whose experts it is to keep.
std::vector<int> layers_without_slots(const GpuPlan& plan, const GpuOptions& options) {
    std::vector<int> layers(static_cast<std::size_t>(plan.layers.first));
    std::iota(layers.begin(), layers.end(), 0);
    std::ranges::copy_if(options.cpu_expert_layers, std::back_inserter(layers),
                         [&plan](int layer) { return plan.layers.contains(layer); });
    return layers;
}

// Of what is left for experts, the part that layers are streamed through: what slots for all leave of it, or
// else a quarter, and never more than two layers. Nothing where no batch will be streamed.
std::int64_t streaming_bytes(const GpuModel& model, const GpuOptions& options, std::int64_t rest,
                             std::int64_t most_slot_bytes, double stream_above, const SessionPlan& session) {
    const ExpertLayouts& layouts = model.experts->layouts();
    if (tokens_per_expert(layouts, session.batch_tokens) <= stream_above) return 0;
    const auto wanted = [&](std::int64_t most_bytes) {
        if (options.max_staging_bytes > 0) most_bytes = std::min(most_bytes, options.max_staging_bytes);
        return LayerStreamer::bytes_wanted(layouts, model.weights, most_bytes);
    };
    const std::int64_t beside_all_slots = wanted(rest - most_slot_bytes);
    return beside_all_slots > 0 ? beside_all_slots : wanted(rest / 4);
}

PinnedExperts::Needs pinning_needs(const GpuModel& model, const SessionPlan& session, int n_sessions) {
    const ExpertLayouts& layouts = model.experts->layouts();
    return {.largest_bytes = largest_expert_bytes(model),
            .most_under_way = VramTier::kMostUploads + LayerStreamer::most_copies(layouts),
            .bytes_of_others = VramTier::pinned_bytes(layouts) + LayerStreamer::pinned_bytes(layouts) +
                               n_sessions * session.memory.beside_gpu_bytes};
}

class CudaLane final : public GpuLane {
  public:
    CudaLane(const GpuModel& model, const GpuOptions& options, const GpuPlan& plan,
             const SessionPlan& session, int n_sessions, const ProgressFn& progress)
        : model_(model),
          plan_(plan),
          budget_(plan.budget_bytes),
          weights_(upload(model, plan.layers, budget_, progress)) {
        if (model.experts == nullptr) return;
        const std::int64_t rest =
            budget_.free_bytes() -
            n_sessions * device_session_bytes(model.spec, model.weights, plan.layers, session);
        const GpuTuning tuning = options.tuning.value_or(kUnmeasured);
        if (options.tuning) tuned_ = options.measures ? GpuUsage::Tuned::at_start : GpuUsage::Tuned::as_given;
        RamTier& ram = *model.experts;
        const std::vector<int> without_slots = layers_without_slots(plan, options);
        const std::int64_t most = VramTier::most_bytes(ram.layouts(), model.weights, without_slots);
        const auto streaming = [&](double stream_above) {
            return streaming_bytes(model, options, rest, most, stream_above, session);
        };
        std::int64_t most_slot_bytes = std::min(rest, most);
        if (options.max_expert_bytes > 0)
            most_slot_bytes = std::min(most_slot_bytes, options.max_expert_bytes);
        // Only where experts will be copied, and as if all were pinned: then most is streamed.
        const bool copies = VramTier::has_room(ram, model.weights, most_slot_bytes, without_slots) ||
                            streaming(options.stream_above.value_or(tuning.crossover_tokens)) > 0;
        pinned_ = copies ? std::make_unique<PinnedExperts>(ram, pinning_needs(model, session, n_sessions))
                         : std::make_unique<PinnedExperts>();
        const UploadRule rule = upload_rule(tuning, pinned_->pinned_share(),
                                            pinned_->ring_bytes() > 0 ? Copies::staged : Copies::pageable);
        upload_share_ = rule.share;
        stream_above_ = options.stream_above.value_or(rule.crossover_tokens);
        const std::int64_t staging = streaming(stream_above_);
        experts_ = std::make_unique<VramTier>(ram, *pinned_, model.weights, budget_,
                                              std::min(rest - staging, most_slot_bytes), upload_share_,
                                              without_slots);
        if (staging > 0)
            streamer_ = std::make_unique<LayerStreamer>(ram, *pinned_, *experts_, budget_, staging);
    }

    std::unique_ptr<Evaluator> make_evaluator(const SessionPlan& plan) override {
        const ModelSpec& spec = model_.spec;
        const LayerRange layers = plan_.layers;
        const std::int64_t bytes = device_session_bytes(spec, model_.weights, layers, plan);
        if (bytes > budget_.free_bytes())
            fail(ErrorKind::out_of_memory,
                 "a context of {} tokens needs {:.1f} MiB of the GPU's memory; {:.1f} MiB are left for it. "
                 "Use a "
                 "smaller context (-c) or batch (-b), or smaller types (-ctk q8_0 -ctv q8_0)",
                 plan.context_tokens, mib(bytes), mib(budget_.free_bytes()));
        gpu::OpsOptions options;
        options.activations = plan.activations;
        options.scratch_bytes = device_scratch_bytes(spec, model_.weights, layers, plan);
        options.read_back_floats = read_back_floats(spec, plan.batch_tokens);
        auto ops = std::make_unique<gpu::Ops>(budget_, options);
        auto cpu_ops =
            std::make_unique<cpu::Ops>(model_.threads, scratch_floats_needed(spec, plan.context_tokens),
                                       activation_blocks_needed(spec, plan.batch_tokens, plan.activations),
                                       product_planes(plan.activations));
        auto misses = std::make_unique<ExpertScheduler>(spec, model_.weights, *cpu_ops, model_.experts,
                                                        plan.batch_tokens);
        auto experts = std::make_unique<HybridExperts>(
            spec, layers, weights_.weights(), budget_, *ops, experts_.get(),
            HybridExperts::Misses{std::move(cpu_ops), std::move(misses)}, plan.batch_tokens);
        if (streamer_ != nullptr)
            experts->stream_through(*streamer_, *model_.experts, stream_above_, plan.batch_tokens);
        if (layers.first > 0)
            return std::make_unique<SplitEvaluator>(spec, layers, model_.weights, weights_.weights(), plan,
                                                    std::move(ops), std::move(experts), experts_.get());
        return std::make_unique<GraphedEvaluator>(spec, layers, weights_.weights(), plan, experts_.get(),
                                                  std::move(ops), std::move(experts));
    }

    GpuUsage usage() const override {
        GpuUsage usage;
        usage.device_name = plan_.device_name;
        usage.layers = plan_.layers;
        usage.total_bytes = budget_.total_bytes();
        usage.used_bytes = budget_.used_bytes();
        usage.resident_bytes = weights_.bytes();
        if (experts_ == nullptr) return usage;
        usage.expert_bytes = experts_->bytes();
        usage.n_slots = experts_->n_slots();
        usage.n_on_stage = experts_->n_resident();
        usage.staging_bytes = streamer_ == nullptr ? 0 : streamer_->bytes();
        usage.ram_slot_bytes = pinned_->slot_bytes();
        usage.ram_pinned_bytes = pinned_->pinned_bytes();
        usage.ring_bytes = pinned_->ring_bytes();
        usage.upload_share = upload_share_;
        usage.stream_above = stream_above_;
        usage.tuned = tuned_;
        usage.experts = experts_->counters();
        usage.experts.n_bytes_staged = pinned_->n_bytes_staged();
        usage.experts.n_bytes_pageable = pinned_->n_bytes_pageable();
        return usage;
    }

  private:
    static DeviceWeights upload(const GpuModel& model, LayerRange layers, gpu::DeviceBudget& budget,
                                const ProgressFn& progress) {
        gpu::Stream stream;
        return DeviceWeights(model.file, model.weights, layers, *model.reader, budget, stream, progress);
    }

    GpuModel model_;
    GpuPlan plan_;
    gpu::DeviceBudget budget_;
    DeviceWeights weights_;
    double upload_share_ = 0;
    double stream_above_ = 0;
    GpuUsage::Tuned tuned_ = GpuUsage::Tuned::never;
    std::unique_ptr<PinnedExperts> pinned_;
    std::unique_ptr<VramTier> experts_;
    std::unique_ptr<LayerStreamer> streamer_;  // nullptr: no batch is streamed
};

}  // namespace

bool GpuLane::is_built() noexcept { return true; }

GpuPlan GpuLane::plan(const GpuModel& model, const GpuOptions& options, const SessionPlan& session,
                      int n_sessions) {
    return plan_gpu(model, options, session, n_sessions);
}

std::unique_ptr<GpuLane> GpuLane::open(const GpuModel& model, const GpuOptions& options, const GpuPlan& plan,
                                       const SessionPlan& session, int n_sessions,
                                       const ProgressFn& progress) {
    return std::make_unique<CudaLane>(model, options, plan, session, n_sessions, progress);
}

}  // namespace greenroom::runtime
