#pragma once

// What follows from measurements: pure functions of figures. Their rules are those of docs/design.md, 1.

#include "runtime/machine_measurements.h"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace greenroom::runtime {

// What a model asks for.
struct TunedModel {
    int n_experts = 0;  // per layer; 0: none
    int top_k = 0;
};

// Of a start with a GPU.
struct GpuTuning {
    double upload_share = 0;  // of a layer's misses, how many are uploaded rather than computed by the CPU
    double crossover_tokens = 0;  // per expert: from here on an upload takes no longer than the CPU
    // The same for experts that lie in memory that is not pinned.
    double staged_upload_share = 0;
    double staged_crossover_tokens = 0;

    friend bool operator==(const GpuTuning&, const GpuTuning&) = default;
};

// What is taken where nothing has been measured: of a machine whose link has a third of what its CPU reads,
// and where copies through pinned pieces have half of the link.
inline constexpr GpuTuning kUnmeasured{
    .upload_share = 0.25, .crossover_tokens = 16, .staged_upload_share = 0.14, .staged_crossover_tokens = 32};

// How what lies in RAM comes to the GPU (runtime/pinned_experts.h).
enum class Copies { pinned, staged, pageable };

// Of that, what holds where only this share of the experts in RAM is pinned and the others come by such
// copies. Each is uploaded as its own way says, and a layer that is streamed takes what they take together.
// Pageable copies are as fast as staged ones, by a thread as well, but it is the one that computes: no share
// of misses is worth its time.
struct UploadRule {
    double share = 0;
    double crossover_tokens = 0;
};
UploadRule upload_rule(const GpuTuning& tuning, double pinned_share, Copies others) noexcept;

struct Tuning {
    int n_threads = 0;
    std::int64_t batch_tokens = 0;
    GpuTuning gpu;  // zeros without one

    friend bool operator==(const Tuning&, const Tuning&) = default;
};

// More threads that add less than this are not worth their heat and what else runs.
inline constexpr double kNearlyBest = 0.95;

// Numbers of threads to measure: every one up to 12, then some six per doubling, and always those of the
// machine: its cores and its hardware threads.
std::vector<int> thread_counts_to_measure(int n_cores, int n_threads);

// The one or two numbers of threads worth trying with the model: the fewest that reach kNearlyBest of the
// best speed with experts (reading memory, for a model without), and the fastest other. By rank.
// threads: not empty.
std::vector<int> thread_candidates(std::span<const ThreadMeasurement> threads);

// The fewest threads that reach kNearlyBest of the best decode. decodes: not empty.
int choose_threads(std::span<const DecodeMeasurement> decodes);

// How long an expert takes for n tokens: straight lines between what was measured, and the last line on.
// experts: by rising number of tokens, not empty.
double expert_seconds(std::span<const ExpertMeasurement> experts, double n_tokens);

// The smallest power of two with which a token costs an expert at most 10 % more than with the most tokens
// measured, if calls are spread evenly: 64 to 2048. Without experts 512.
std::int64_t choose_batch(std::span<const ExpertMeasurement> experts, const TunedModel& model);

// The same where batches above the crossover are streamed: a layer's experts take as long to come for many
// tokens as for few, so as many as choose_batch() may choose, if that is above it.
std::int64_t choose_streamed_batch(std::int64_t batch_tokens, double crossover_tokens,
                                   const TunedModel& model) noexcept;

// The share of misses that makes both sides end at once: B_pcie / B_host, where B_host is what the host's
// memory gives in all while both run. The CPU gets no more than its kernels take. cpu_expert_read: bytes per
// second of experts for one token.
double upload_share(const GpuMeasurements& gpu, double cpu_expert_read,
                    Copies copies = Copies::pinned) noexcept;

// Tokens per expert at which the CPU takes as long as the upload of an expert: 1 to kNoCrossover.
inline constexpr double kNoCrossover = 1 << 20;
double crossover_tokens(const GpuMeasurements& gpu, std::int64_t expert_bytes,
                        std::span<const ExpertMeasurement> experts, Copies copies = Copies::pinned);

// What there is to decide of the GPU. Nothing where it, or the experts, have not been measured.
std::optional<GpuTuning> decide_gpu(const MachineMeasurements& measured);

// All of it. measured.threads and measured.decodes: not empty.
Tuning decide(const MachineMeasurements& measured, const TunedModel& model);

}  // namespace greenroom::runtime
