// What follows from measurements, on made-up machines; and the tuner's own, on a tiny model.

#include "runtime/tuning.h"

#include "quant/base/error.h"
#include "runtime/gpu_tuning.h"
#include "runtime/tuner.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

namespace greenroom::runtime {
namespace {

TEST(Tuning, CoresAndHardwareThreadsAreAmongTheNumbersMeasured) {
    EXPECT_EQ(thread_counts_to_measure(1, 1), (std::vector<int>{1}));
    EXPECT_EQ(thread_counts_to_measure(2, 4), (std::vector<int>{1, 2, 3, 4}));
    const std::vector<int> many = thread_counts_to_measure(61, 128);
    EXPECT_EQ(many.front(), 1);
    EXPECT_EQ(many.back(), 128);
    EXPECT_EQ(std::ranges::count(many, 61), 1);
    EXPECT_LT(many.size(), 40U);
}

TEST(Tuning, FewestNearlyBestAndFastestOtherAreTried) {
    // Memory is saturated by 4 of 8 threads.
    const std::vector<ThreadMeasurement> threads = {
        {1, 10e9, 10e-6}, {2, 20e9, 5e-6}, {4, 40e9, 2.6e-6}, {8, 40e9, 2.5e-6}};
    EXPECT_EQ(thread_candidates(threads), (std::vector<int>{4, 8}));
    // Where the fewest are the best: they and the next best.
    EXPECT_EQ(thread_candidates(std::span(threads).first(2)), (std::vector<int>{2, 1}));
    EXPECT_EQ(thread_candidates(std::span(threads).first(1)), (std::vector<int>{1}));
    // A model without experts: what memory gives.
    const std::vector<ThreadMeasurement> dense = {{1, 10e9, 0}, {2, 19e9, 0}, {3, 19.5e9, 0}};
    EXPECT_EQ(thread_candidates(dense), (std::vector<int>{2, 3}));
}

TEST(Tuning, MoreThreadsMustBringMoreThanAFewPercent) {
    EXPECT_EQ(choose_threads(std::vector<DecodeMeasurement>{{4, 9.6}, {8, 10}}), 4);
    EXPECT_EQ(choose_threads(std::vector<DecodeMeasurement>{{8, 10}, {4, 9.4}}), 8);
    EXPECT_EQ(choose_threads(std::vector<DecodeMeasurement>{{8, 9}, {4, 10}}), 4);
}

TEST(Tuning, TimeOfAnExpertFollowsLinesBetweenMeasurements) {
    const std::vector<ExpertMeasurement> experts = {{1, 10}, {4, 16}, {32, 100}};
    EXPECT_DOUBLE_EQ(expert_seconds(experts, 1), 10);
    EXPECT_DOUBLE_EQ(expert_seconds(experts, 2), 12);
    EXPECT_DOUBLE_EQ(expert_seconds(experts, 32), 100);
    EXPECT_DOUBLE_EQ(expert_seconds(experts, 64), 196);
    EXPECT_DOUBLE_EQ(expert_seconds(std::span(experts).first(1), 3), 30);
}

TEST(Tuning, BatchIsTheSmallestThatUsesWhatIsReadWell) {
    // Reading takes 16, each token 1: 10 % more than with 32 tokens (1.5 each) is reached at 25 tokens.
    const std::vector<ExpertMeasurement> experts = {{1, 17}, {4, 20}, {32, 48}};
    EXPECT_EQ(choose_batch(experts, {.n_experts = 8, .top_k = 2}), 128);
    EXPECT_EQ(choose_batch(experts, {.n_experts = 128, .top_k = 8}), 512);
    EXPECT_EQ(choose_batch(experts, {.n_experts = 512, .top_k = 8}), 2048);
    // Nothing is gained by more tokens.
    const std::vector<ExpertMeasurement> computing = {{1, 1}, {4, 4}, {32, 32}};
    EXPECT_EQ(choose_batch(computing, {.n_experts = 8, .top_k = 2}), 64);
    EXPECT_EQ(choose_batch({}, {}), 512);
}

TEST(Tuning, UploadsTakeTheLinksShareOfTheHostsMemory) {
    GpuMeasurements gpu;
    gpu.shared_upload = 40e9;
    gpu.shared_dram_read = 70e9;
    EXPECT_DOUBLE_EQ(upload_share(gpu, 0), 40.0 / 110);
    // Kernels that take less than memory gives leave more to the link.
    EXPECT_DOUBLE_EQ(upload_share(gpu, 40e9), 0.5);
    EXPECT_DOUBLE_EQ(upload_share(gpu, 100e9), 40.0 / 110);
    EXPECT_EQ(upload_share({}, 10e9), 0);
}

TEST(Tuning, CrossoverIsWhereTheCpuTakesAsLongAsTheUpload) {
    const std::vector<ExpertMeasurement> experts = {{1, 10e-6}, {4, 16e-6}, {32, 100e-6}};
    GpuMeasurements gpu;
    gpu.pinned_upload = 25e9;
    EXPECT_NEAR(crossover_tokens(gpu, 400'000, experts), 4, 0.02);     // 16 µs
    EXPECT_NEAR(crossover_tokens(gpu, 4'900'000, experts), 64, 0.02);  // 196 µs
    EXPECT_EQ(crossover_tokens(gpu, 100'000, experts), 1);
    EXPECT_EQ(crossover_tokens({}, 100'000, experts), kNoCrossover);
    const std::vector<ExpertMeasurement> flat = {{1, 10e-6}, {32, 10e-6}};
    EXPECT_EQ(crossover_tokens(gpu, 4'900'000, flat), kNoCrossover);
}

TEST(Tuning, WhatIsStagedIsDecidedByItsOwnFigures) {
    MachineMeasurements measured;
    measured.expert_bytes = 1'000'000;
    measured.experts = {{1, 100e-6}, {4, 160e-6}, {16, 400e-6}};
    measured.gpu = GpuMeasurements{.pinned_upload = 5e9,
                                   .staged_upload = 2.5e9,
                                   .shared_upload = 5e9,
                                   .shared_dram_read = 15e9,
                                   .shared_staged_upload = 2e9,
                                   .shared_staged_dram_read = 8e9};
    const auto tuning = decide_gpu(measured);
    ASSERT_TRUE(tuning);
    EXPECT_DOUBLE_EQ(tuning->staged_upload_share, 0.2);
    EXPECT_NEAR(tuning->staged_crossover_tokens, 16, 0.02);  // 400 µs
    EXPECT_DOUBLE_EQ(tuning->upload_share, 1.0 / 3);
    EXPECT_NEAR(tuning->crossover_tokens, 6, 0.02);
    measured.gpu->staged_upload = 0;  // pieces could not be pinned
    EXPECT_EQ(decide_gpu(measured)->staged_crossover_tokens, kNoCrossover);
}

TEST(Tuning, ExpertsThatAreNotPinnedCountAsMuchAsThereAreOfThem) {
    const GpuTuning tuning{.upload_share = 0.4,
                           .crossover_tokens = 10,
                           .staged_upload_share = 0.2,
                           .staged_crossover_tokens = 20};
    EXPECT_EQ(upload_rule(tuning, 1, Copies::staged).share, 0.4);
    EXPECT_EQ(upload_rule(tuning, 1, Copies::staged).crossover_tokens, 10);
    EXPECT_EQ(upload_rule(tuning, 0, Copies::staged).share, 0.2);
    EXPECT_EQ(upload_rule(tuning, 0, Copies::staged).crossover_tokens, 20);
    EXPECT_DOUBLE_EQ(upload_rule(tuning, 0.75, Copies::staged).share, 0.35);
    EXPECT_DOUBLE_EQ(upload_rule(tuning, 0.75, Copies::staged).crossover_tokens, 12.5);
    EXPECT_DOUBLE_EQ(upload_rule(tuning, 0.75, Copies::pageable).share, 0.3);
    EXPECT_DOUBLE_EQ(upload_rule(tuning, 0.75, Copies::pageable).crossover_tokens, 12.5);
}

TEST(Tuning, DecisionsAboutTheGpuNeedOne) {
    MachineMeasurements measured;
    measured.expert_bytes = 1'000'000;
    measured.threads = {{1, 10e9, 100e-6}};
    measured.experts = {{1, 100e-6}, {32, 400e-6}};
    measured.decodes = {{1, 5}};
    const Tuning without = decide(measured, {.n_experts = 8, .top_k = 2});
    EXPECT_EQ(without.n_threads, 1);
    EXPECT_EQ(without.gpu.upload_share, 0);
    EXPECT_EQ(without.gpu.crossover_tokens, 0);
    measured.gpu = GpuMeasurements{.pinned_upload = 5e9,
                                   .pageable_upload = 2e9,
                                   .shared_upload = 5e9,
                                   .shared_dram_read = 15e9,
                                   .vram_copy = 300e9,
                                   .hand_over_s = 10e-6};
    const Tuning with = decide(measured, {.n_experts = 8, .top_k = 2});
    EXPECT_DOUBLE_EQ(with.gpu.upload_share, 1.0 / 3);  // the kernels read 10 GB/s
    EXPECT_GT(with.gpu.crossover_tokens, 1);
}

TEST(Tuning, BatchesThatAreStreamedAreAsLargeAsTheyMayBe) {
    EXPECT_EQ(choose_streamed_batch(512, 20, {.n_experts = 128, .top_k = 8}), 2048);
    // Not even those would be streamed.
    EXPECT_EQ(choose_streamed_batch(512, 128, {.n_experts = 128, .top_k = 8}), 512);
    EXPECT_EQ(choose_streamed_batch(512, kNoCrossover, {.n_experts = 128, .top_k = 8}), 512);
    EXPECT_EQ(choose_streamed_batch(512, 1, {}), 512);
}

// A start in a hurry and the tuner at leisure have one rule.
TEST(Tuning, WhatIsDecidedOfTheGpuIsTheSameWhoeverMeasured) {
    MachineMeasurements measured;
    measured.expert_bytes = 1'000'000;
    EXPECT_FALSE(decide_gpu(measured));
    measured.gpu = GpuMeasurements{.pinned_upload = 5e9, .shared_upload = 5e9, .shared_dram_read = 15e9};
    EXPECT_FALSE(decide_gpu(measured));
    measured.experts = {{1, 100e-6}, {4, 160e-6}, {16, 400e-6}};
    const auto quick = decide_gpu(measured);
    ASSERT_TRUE(quick);
    EXPECT_DOUBLE_EQ(quick->upload_share, 1.0 / 3);
    EXPECT_NEAR(quick->crossover_tokens, 6, 0.02);  // 200 µs
    measured.decodes = {{1, 5}};
    EXPECT_EQ(decide(measured, {.n_experts = 8, .top_k = 2}).gpu, *quick);
}

TEST(TuneQuickly, MeasuresTheLinkAloneAndWhileTheCpuReadsWithinASecond) {
    const auto engine = Engine::open(test::test_data("oracle/mini/gpt-oss/model-mxfp4.gguf").string(), 1);
    QuickTuneOptions options;
    std::int64_t n_read = 0;
    options.probe_gpu = [&](const GpuProbeOptions& probe) -> std::optional<GpuMeasurements> {
        EXPECT_EQ(probe.what, GpuProbeOptions::What::the_link);
        EXPECT_GT(probe.expert_bytes, 0);
        int n_asked = 0;
        n_read = probe.read_host([&] { return ++n_asked > 2; });
        return GpuMeasurements{.pinned_upload = 20e9, .shared_upload = 1e9, .shared_dram_read = 3e9};
    };
    const auto begin = std::chrono::steady_clock::now();
    const auto tuning = tune_quickly(engine->spec(), engine->weights(), engine->threads(), options);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(1500));
    EXPECT_GT(n_read, 0);
    ASSERT_TRUE(tuning);
    EXPECT_GE(tuning->upload_share, 0.25);
    EXPECT_LE(tuning->upload_share, 1);
    EXPECT_GE(tuning->crossover_tokens, 1);
}

TEST(TuneQuickly, WithoutAFigureThereIsNothingToDecide) {
    const auto engine = Engine::open(test::test_data("oracle/mini/deepseek2/model-bf16.gguf").string(), 1);
    QuickTuneOptions options;
    options.memory_bytes = 1;  // an expert all the same
    options.probe_gpu = [](const GpuProbeOptions&) { return std::nullopt; };
    EXPECT_FALSE(tune_quickly(engine->spec(), engine->weights(), engine->threads(), options));
    options.probe_gpu = [](const GpuProbeOptions&) -> std::optional<GpuMeasurements> {
        fail(ErrorKind::device, "the link is down");
    };
    EXPECT_FALSE(tune_quickly(engine->spec(), engine->weights(), engine->threads(), options));
}

TEST(Tuner, MeasuresAModelAndAsksTheGpuWhileMemoryIsRead) {
    const auto engine = Engine::open(test::test_data("oracle/mini/deepseek2/model-bf16.gguf").string(), 1);
    std::int64_t n_read = 0;
    std::int64_t asked_bytes = 0;
    std::int64_t last_done = -1;
    TuneOptions options;
    options.progress = [&](std::string_view, std::int64_t done, std::int64_t total) {
        EXPECT_GE(done, last_done);
        EXPECT_LE(done, total);
        last_done = done == total ? -2 : done;
    };
    options.probe_gpu = [&](const GpuProbeOptions& probe) -> std::optional<GpuMeasurements> {
        asked_bytes = probe.expert_bytes;
        int n_asked = 0;
        n_read = probe.read_host([&] { return ++n_asked > 3; });
        return GpuMeasurements{.pinned_upload = 1,
                               .pageable_upload = 2,
                               .shared_upload = 3,
                               .shared_dram_read = 4,
                               .vram_copy = 5,
                               .hand_over_s = 6};
    };
    const MachineMeasurements measured = measure_machine(*engine, options);
    EXPECT_EQ(last_done, -2);
    EXPECT_GT(measured.expert_bytes, 0);
    EXPECT_EQ(asked_bytes, measured.expert_bytes);
    EXPECT_GT(n_read, 0);
    EXPECT_GT(measured.ssd_read, 0);
    ASSERT_FALSE(measured.threads.empty());
    for (const ThreadMeasurement& point : measured.threads) {
        EXPECT_GT(point.dram_read, 0);
        EXPECT_GT(point.expert_s, 0);
    }
    ASSERT_EQ(measured.experts.size(), 3U);
    EXPECT_EQ(measured.experts.back().n_tokens, 32);
    ASSERT_FALSE(measured.decodes.empty());
    for (const DecodeMeasurement& decode : measured.decodes) EXPECT_GT(decode.tokens_per_s, 0);
    ASSERT_TRUE(measured.gpu);
    EXPECT_EQ(measured.gpu->hand_over_s, 6);
    EXPECT_GE(decide(measured, tuned_model(engine->spec())).n_threads, 1);
}

}  // namespace
}  // namespace greenroom::runtime
