#include "runtime/tuning.h"

#include "quant/base/error.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kLeastBatch = 64;
constexpr std::int64_t kMostBatch = 2048;
constexpr std::int64_t kBatchWithoutExperts = 512;
constexpr double kBatchTolerance = 1.1;

// The larger the better.
double score(const ThreadMeasurement& point) noexcept {
    return point.expert_s > 0 ? 1 / point.expert_s : point.dram_read;
}

}  // namespace

std::vector<int> thread_counts_to_measure(int n_cores, int n_threads) {
    constexpr int kPerDoubling = 6;
    const int most = std::max({1, n_cores, n_threads});
    std::vector<int> counts;
    for (int n = 1; n < most; n += std::max(1, n / kPerDoubling)) counts.push_back(n);
    counts.push_back(most);
    if (n_cores >= 1) counts.push_back(n_cores);
    std::ranges::sort(counts);
    counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
    return counts;
}

std::vector<int> thread_candidates(std::span<const ThreadMeasurement> threads) {
    GR_CHECK(!threads.empty());
    const double best = score(*std::ranges::max_element(threads, {}, score));
    const auto first =
        std::ranges::find_if(threads, [&](const auto& point) { return score(point) >= kNearlyBest * best; });
    std::vector<int> candidates{first->n_threads};
    const ThreadMeasurement* other = nullptr;
    for (const ThreadMeasurement& point : threads)
        if (&point != &*first && (other == nullptr || score(point) > score(*other))) other = &point;
    if (other != nullptr) candidates.push_back(other->n_threads);
    return candidates;
}

int choose_threads(std::span<const DecodeMeasurement> decodes) {
    GR_CHECK(!decodes.empty());
    const double best = std::ranges::max_element(decodes, {}, &DecodeMeasurement::tokens_per_s)->tokens_per_s;
    int fewest = std::numeric_limits<int>::max();
    for (const DecodeMeasurement& decode : decodes)
        if (decode.tokens_per_s >= kNearlyBest * best) fewest = std::min(fewest, decode.n_threads);
    return fewest;
}

double expert_seconds(std::span<const ExpertMeasurement> experts, double n_tokens) {
    GR_CHECK(!experts.empty());
    if (experts.size() == 1) return experts.front().seconds * n_tokens / experts.front().n_tokens;
    std::size_t right = 1;
    while (right + 1 < experts.size() && experts[right].n_tokens < n_tokens) ++right;
    const ExpertMeasurement& a = experts[right - 1];
    const ExpertMeasurement& b = experts[right];
    const double slope = (b.seconds - a.seconds) / (b.n_tokens - a.n_tokens);
    return a.seconds + slope * (n_tokens - a.n_tokens);
}

std::int64_t choose_batch(std::span<const ExpertMeasurement> experts, const TunedModel& model) {
    if (experts.empty() || model.top_k <= 0) return kBatchWithoutExperts;
    const ExpertMeasurement& most = experts.back();
    const double enough = kBatchTolerance * most.seconds / most.n_tokens;
    const double calls_per_token = static_cast<double>(model.top_k) / std::max(1, model.n_experts);
    for (std::int64_t batch = kLeastBatch; batch < kMostBatch; batch *= 2) {
        const double n = std::min<double>(most.n_tokens, calls_per_token * static_cast<double>(batch));
        if (n >= 1 && expert_seconds(experts, n) <= enough * n) return batch;
    }
    return kMostBatch;
}

std::int64_t choose_streamed_batch(std::int64_t batch_tokens, double crossover_tokens,
                                   const TunedModel& model) noexcept {
    const double per_expert =
        static_cast<double>(kMostBatch) * model.top_k / static_cast<double>(std::max(1, model.n_experts));
    return per_expert > crossover_tokens ? kMostBatch : batch_tokens;
}

UploadRule upload_rule(const GpuTuning& tuning, double pinned_share, Copies others) noexcept {
    const auto mixed = [pinned_share](double pinned, double other) {
        return pinned_share * pinned + (1 - pinned_share) * other;
    };
    return {
        .share = mixed(tuning.upload_share, others == Copies::pageable ? 0.0 : tuning.staged_upload_share),
        .crossover_tokens = mixed(tuning.crossover_tokens, tuning.staged_crossover_tokens)};
}

double upload_share(const GpuMeasurements& gpu, double cpu_expert_read, Copies copies) noexcept {
    const bool is_pinned = copies == Copies::pinned;
    const double link = is_pinned ? gpu.shared_upload : gpu.shared_staged_upload;
    const double dram = is_pinned ? gpu.shared_dram_read : gpu.shared_staged_dram_read;
    const double cpu = cpu_expert_read > 0 ? std::min(dram, cpu_expert_read) : dram;
    return link + cpu > 0 ? link / (link + cpu) : 0;
}

double crossover_tokens(const GpuMeasurements& gpu, std::int64_t expert_bytes,
                        std::span<const ExpertMeasurement> experts, Copies copies) {
    GR_CHECK(!experts.empty());
    const double upload = copies == Copies::pinned ? gpu.pinned_upload : gpu.staged_upload;
    if (upload <= 0) return kNoCrossover;
    const double upload_s = static_cast<double>(expert_bytes) / upload;
    // Doubling, then halving: the time need not rise everywhere.
    double less = 0;
    double enough = 1;
    while (enough < kNoCrossover && expert_seconds(experts, enough) < upload_s) {
        less = enough;
        enough *= 2;
    }
    if (enough >= kNoCrossover) return kNoCrossover;
    while (less >= 1 && enough - less > 0.01) {
        const double middle = (less + enough) / 2;
        (expert_seconds(experts, middle) < upload_s ? less : enough) = middle;
    }
    return enough;
}

std::optional<GpuTuning> decide_gpu(const MachineMeasurements& measured) {
    if (!measured.gpu || measured.experts.empty()) return std::nullopt;
    const double read = static_cast<double>(measured.expert_bytes) / expert_seconds(measured.experts, 1);
    const auto crossover = [&](Copies copies) {
        return crossover_tokens(*measured.gpu, measured.expert_bytes, measured.experts, copies);
    };
    return GpuTuning{.upload_share = upload_share(*measured.gpu, read),
                     .crossover_tokens = crossover(Copies::pinned),
                     .staged_upload_share = upload_share(*measured.gpu, read, Copies::staged),
                     .staged_crossover_tokens = crossover(Copies::staged)};
}

Tuning decide(const MachineMeasurements& measured, const TunedModel& model) {
    Tuning tuning;
    tuning.n_threads = choose_threads(measured.decodes);
    tuning.batch_tokens = choose_batch(measured.experts, model);
    if (const auto gpu = decide_gpu(measured)) {
        tuning.gpu = *gpu;
        tuning.batch_tokens = choose_streamed_batch(tuning.batch_tokens, tuning.gpu.crossover_tokens, model);
    }
    return tuning;
}

}  // namespace greenroom::runtime
