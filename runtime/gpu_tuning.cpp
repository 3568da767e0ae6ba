#include "runtime/gpu_tuning.h"

#include "cache/arena.h"
#include "quant/base/error.h"
#include "quant/base/log.h"
#include "runtime/host_timing.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <variant>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kCopyBytes = std::int64_t{32} << 20;
constexpr std::array kTokenCounts{1, 4, 16};
constexpr TimingOptions kTiming{.seconds = 0.01, .least_runs = 2};

// Experts of the model's first MoE layer, all zero, in memory that is read once before it is read again.
class MadeExperts {
  public:
    MadeExperts(const ModelSpec& spec, const Weights& weights, std::int64_t most_bytes) {
        while (!std::holds_alternative<MoeFfnSpec>(spec.layers[static_cast<std::size_t>(layer_)].ffn))
            ++layer_;
        model_ =
            std::get<MoeFfnWeights>(weights.layers[static_cast<std::size_t>(layer_)].ffn).experts.front();
        for (const TensorView* w : {&model_.gate, &model_.up, &model_.down}) slot_bytes_ += place_bytes(*w);
        n_ = std::max<std::int64_t>(1, most_bytes / slot_bytes_);
        arena_ = std::make_unique<cache::Arena>(n_ * slot_bytes_,
                                                cache::ArenaOptions{.commit = cache::ArenaCommit::at_once});
    }

    std::int64_t expert_bytes() const {
        return model_.gate.bytes() + model_.up.bytes() + model_.down.bytes();
    }
    std::span<const std::byte> memory() const noexcept { return arena_->memory(); }
    TimedExperts timed() const {
        return {
            .layer = layer_,
            .n = static_cast<std::size_t>(n_),
            .task = [this](std::size_t i, std::span<const std::int32_t> calls) { return task(i, calls); }};
    }

  private:
    static std::int64_t place_bytes(const TensorView& w) {
        constexpr std::int64_t kAlignment = 256;
        return (w.bytes() + kAlignment - 1) / kAlignment * kAlignment;
    }

    cpu::ExpertTask task(std::size_t i, std::span<const std::int32_t> calls) const {
        ExpertWeights expert = model_;
        const std::byte* at = arena_->data() + static_cast<std::int64_t>(i) * slot_bytes_;
        for (TensorView* w : {&expert.gate, &expert.up, &expert.down}) {
            w->data = at;
            at += place_bytes(*w);
        }
        return {expert.gate, expert.up, expert.down, calls};
    }

    int layer_ = 0;
    ExpertWeights model_;
    std::int64_t slot_bytes_ = 0;
    std::int64_t n_ = 0;
    std::unique_ptr<cache::Arena> arena_;
};

}  // namespace

std::optional<GpuTuning> tune_quickly(const ModelSpec& spec, const Weights& weights, cpu::ThreadTeam& team,
                                      const QuickTuneOptions& options) {
    const auto begin = std::chrono::steady_clock::now();
    const auto seconds_left = [&] {
        return options.seconds -
               std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    };
    try {
        const MadeExperts experts(spec, weights, options.memory_bytes);
        MachineMeasurements measured;
        measured.expert_bytes = experts.expert_bytes();
        GpuProbeOptions probe;
        probe.what = GpuProbeOptions::What::the_link;
        probe.expert_bytes = measured.expert_bytes;
        probe.copy_bytes = kCopyBytes;
        probe.read_host = [&](const std::function<bool()>& done) {
            return read_until(team, experts.memory(), done);
        };
        measured.gpu = options.probe_gpu(probe);
        if (!measured.gpu) return std::nullopt;

        const TimedExperts timed = experts.timed();
        const int top_k =
            std::get<MoeFfnSpec>(spec.layers[static_cast<std::size_t>(timed.layer)].ffn).router.top_k;
        for (const int n : kTokenCounts) {
            // As many times as long as one token, at most; and once more to warm up.
            if (!measured.experts.empty() &&
                measured.experts.front().seconds * n * top_k * (kTiming.least_runs + 1) > seconds_left())
                break;
            measured.experts.push_back({n, time_expert(team, spec, timed, n, kTiming)});
        }
        return decide_gpu(measured);
    } catch (const Error& error) {
        log_warning(
            "what the GPU's link gives could not be measured ({}): uploads and long prompts go by "
            "figures of another machine. `greenroom tune` measures it at leisure",
            error.what());
        return std::nullopt;
    }
}

}  // namespace greenroom::runtime
