// Decoding by CUDA graphs on the emulated device: to the bit what the operations give one by one, whoever
// computes the experts, and whatever goes wrong in the middle of a step.

#include "cache/read_faults.h"
#include "quant/base/log.h"
#include "runtime/observer.h"
#include "tests/gpu/emulation/control.h"
#include "tests/gpu/emulation/fake_device.h"
#include "tests/runtime/families.h"
#include "tests/runtime/session_values.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace greenroom::runtime {
namespace {

using test::Family;

// What an observer looks at does not go through as a graph.
class Onlooker : public ForwardObserver {
  public:
    void on_hidden(int, std::int64_t, ConstMatrixView) override {}
    void on_router(const RouterChoice&) override {}
};

std::unique_ptr<Engine> load(const Family& family, LoadOptions options) {
    options.gpu.use = GpuOptions::Use::on;
    return Engine::load((test::oracle_of(family).folder / family.file).string(), {2, {}, options});
}

LoadOptions with_experts(std::int64_t max_bytes) {
    LoadOptions options;
    options.gpu.max_expert_bytes = max_bytes;
    return options;
}

// No expert ever is in VRAM, so that it does not depend on the time that copies take who computes one.
LoadOptions without_slots() { return with_experts(1); }

// A session by graphs and one by operations that are to do the same.
class Twins {
  public:
    Twins(const Engine& first, const Engine& second, const SessionOptions& options)
        : graphed_(first, options), by_operations_(second, options) {
        onlooker_.observer = &looks_;
    }

    void evaluate(std::span<const text::TokenId> tokens) {
        // Of both engines: what they have asked for is in VRAM.
        emulation::wait_for_all_streams();
        ASSERT_EQ(graphed_.evaluate(tokens), Evaluated::done);
        ASSERT_EQ(by_operations_.evaluate(tokens, onlooker_), Evaluated::done);
        ASSERT_EQ(logits_of(graphed_), logits_of(by_operations_)) << "at token " << graphed_.n_tokens();
    }

    void decode(std::span<const text::TokenId> tokens) {
        for (const text::TokenId token : tokens) evaluate({&token, 1});
    }

    std::int64_t truncate(std::int64_t n_keep) {
        const std::int64_t n_kept = graphed_.truncate(n_keep);
        EXPECT_EQ(by_operations_.truncate(n_keep), n_kept);
        return n_kept;
    }

    Session& graphed() { return graphed_; }
    Session& by_operations() { return by_operations_; }

  private:
    Session graphed_;
    Session by_operations_;
    Onlooker looks_;
    EvaluateOptions onlooker_;
};

enum class Room { none, some, all };

std::int64_t bytes_for(const Family& family, Room room) {
    if (room == Room::none) return 1;
    if (room == Room::all) return 0;
    return load(family, {})->gpu()->usage().expert_bytes / 2;
}

class GraphedFamilies : public testing::TestWithParam<std::tuple<Family, Room>> {
  protected:
    ~GraphedFamilies() override { emulation::reset(); }
};

TEST_P(GraphedFamilies, LogitsAreThoseOfTheOperationsToTheBit) {
    const auto& [family, room] = GetParam();
    const LoadOptions options = with_experts(bytes_for(family, room));
    const auto first = load(family, options);
    const auto second = load(family, options);
    const auto tokens = test::oracle_of(family).ids("tokens_p1").values;
    constexpr std::size_t kPrompt = 14;
    Twins twins(*first, *second, test::exact_session(static_cast<std::int64_t>(tokens.size()), 8));
    twins.evaluate(std::span(tokens).first(kPrompt));
    const std::int64_t n_launches = emulation::counts().graph_launches;
    twins.decode(std::span(tokens).subspan(kPrompt));
    EXPECT_EQ(emulation::counts().graph_launches - n_launches,
              static_cast<std::int64_t>(tokens.size() - kPrompt) - 1)
        << "all but the first";

    const VramCounters counts = first->gpu()->usage().experts;
    const VramCounters expected = second->gpu()->usage().experts;
    EXPECT_EQ(counts.n_hits, expected.n_hits);
    EXPECT_EQ(counts.n_misses, expected.n_misses);
    EXPECT_EQ(counts.n_gpu_calls, expected.n_gpu_calls);
    EXPECT_EQ(counts.n_cpu_calls, expected.n_cpu_calls);
    EXPECT_EQ(counts.n_uploads, expected.n_uploads);
    EXPECT_EQ(counts.n_gpu_calls > 0, room != Room::none);
}

constexpr auto in_room_name = [](const auto& param) {
    constexpr const char* kNames[] = {"none", "some", "all"};
    return test::family_name(std::get<0>(param.param)) + "_" +
           kNames[static_cast<int>(std::get<1>(param.param))];
};
const auto kRooms = testing::Values(Room::none, Room::some, Room::all);
INSTANTIATE_TEST_SUITE_P(Family, GraphedFamilies,
                         testing::Combine(testing::ValuesIn(test::kFamilies), kRooms), in_room_name);
INSTANTIATE_TEST_SUITE_P(GptOss, GraphedFamilies, testing::Combine(testing::Values(test::kGptOss), kRooms),
                         in_room_name);

// Rows, rows with an indexer, rings, chunks, states.
class GraphedTimelines : public testing::TestWithParam<Family> {
  protected:
    ~GraphedTimelines() override { emulation::reset(); }
};

TEST_P(GraphedTimelines, GoBackBetweenSteps) {
    const auto engine = load(GetParam(), without_slots());
    Twins twins(*engine, *engine, test::exact_session(120, 8));
    const auto prompt = numbers(10, 30);
    twins.evaluate(prompt);
    twins.decode(numbers(100, 7));
    for (const std::int64_t n_keep : {36, 35, 31, 12}) {
        const std::int64_t n_kept = twins.truncate(n_keep);
        twins.evaluate(numbers(200, static_cast<int>(n_keep + 1 - n_kept)));
        twins.decode(numbers(150, 4));
    }
}

INSTANTIATE_TEST_SUITE_P(Family, GraphedTimelines,
                         testing::Values(Family{"deepseek2"}, Family{"deepseek32"}, test::kGptOss,
                                         Family{"llama4"}, Family{"qwen35moe"}),
                         [](const auto& param) { return test::family_name(param.param); });

// Rows, rings, chunks, states; MLA's bounds are checked where its kernels are.
class GraphedGrowth : public GraphedTimelines {};

TEST_P(GraphedGrowth, GoesBeyondWhatAGraphWasCapturedFor) {
    const auto engine = load(GetParam(), without_slots());
    Twins twins(*engine, *engine, test::exact_session(270, 64));
    const std::int64_t n_graphs = emulation::counts().graphs;
    twins.evaluate(numbers(1, 251));
    twins.decode(numbers(100, 4));
    const std::int64_t n_small = emulation::counts().graphs - n_graphs;
    EXPECT_GT(n_small, 0);
    twins.decode(numbers(120, 6));
    EXPECT_EQ(emulation::counts().graphs - n_graphs, 2 * n_small);
}

INSTANTIATE_TEST_SUITE_P(Family, GraphedGrowth,
                         testing::Values(Family{"qwen3moe"}, test::kGptOss, Family{"llama4"},
                                         Family{"qwen35moe"}),
                         [](const auto& param) { return test::family_name(param.param); });

class GpuGraphs : public testing::Test {
  protected:
    ~GpuGraphs() override {
        set_log_sink(nullptr);
        emulation::reset();
    }

    // Experts come from the disk through the least memory, and all misses are the CPU's.
    static LoadOptions tight(cache::ReadFaults* faults, int prefetch_layers = 1) {
        LoadOptions options = without_slots();
        options.max_expert_bytes = 1;
        options.experts.prefetch_layers = prefetch_layers;
        options.reader.faults = faults;
        return options;
    }

    const Family family_{"deepseek2"};
    const SessionOptions session_ = test::exact_session(40, 8);
};

TEST_F(GpuGraphs, SessionsTakeTurnsStepByStep) {
    const auto first = load(family_, with_experts(0));
    const auto second = load(family_, with_experts(0));
    std::vector<std::unique_ptr<Twins>> twins;
    for (int i = 0; i < 2; ++i) {
        twins.push_back(std::make_unique<Twins>(*first, *second, session_));
        twins.back()->evaluate(numbers(10 + 40 * i, 9));
    }
    for (int step = 0; step < 8; ++step)
        for (int i = 0; i < 2; ++i) twins[static_cast<std::size_t>(i)]->decode(numbers(7 * step + i, 1));
}

TEST_F(GpuGraphs, RoundedActivationsAndCachesAreRoundedTheSame) {
    const auto first = load(test::kGptOss, with_experts(0));
    const auto second = load(test::kGptOss, with_experts(0));
    const KvTypes kv_types{quant::Type::Q8_0, quant::Type::F16};
    Twins twins(*first, *second, {.context_tokens = 40, .batch_tokens = 8, .kv_types = kv_types});
    twins.evaluate(numbers(10, 9));
    twins.decode(numbers(60, 6));
}

TEST_F(GpuGraphs, WhereLaunchesBlockThereAreNone) {
    ASSERT_EQ(setenv("CUDA_LAUNCH_BLOCKING", "1", 1), 0);
    const auto engine = load(family_, without_slots());
    Session session(*engine, session_);
    ASSERT_EQ(unsetenv("CUDA_LAUNCH_BLOCKING"), 0);
    const std::int64_t n_launches = emulation::counts().graph_launches;
    for (const text::TokenId token : numbers(10, 3)) session.evaluate({&token, 1});
    EXPECT_EQ(emulation::counts().graph_launches, n_launches);
}

TEST_F(GpuGraphs, WhatIsGuessedInAStepIsReadAhead) {
    const Family family{"qwen3moe"};
    const auto first = load(family, tight(nullptr, 2));
    const auto second = load(family, tight(nullptr, 2));
    Twins twins(*first, *second, session_);
    twins.evaluate(numbers(10, 9));
    twins.decode(numbers(60, 8));
    for (const int distance : {1, 2}) {
        EXPECT_GT(first->experts()->foresight(distance).n_foreseen, 0);
        EXPECT_EQ(first->experts()->foresight(distance).n_foreseen,
                  second->experts()->foresight(distance).n_foreseen);
    }
}

TEST_F(GpuGraphs, AReadThatFailsEndsTheStepAndNothingElse) {
    cache::ReadFaults faults("eio@*101");
    const auto faulty = load(family_, tight(&faults));
    const auto sound = load(family_, tight(nullptr));
    Session session(*faulty, session_);
    Session expected(*sound, session_);
    const auto tokens = numbers(10, 30);
    int n_failed = 0;
    for (const text::TokenId token : tokens) {
        for (;;) {
            const std::int64_t n_before = session.n_tokens();
            try {
                session.evaluate({&token, 1});
                break;
            } catch (const Error& error) {
                ASSERT_EQ(error.kind(), ErrorKind::io) << error.what();
                ASSERT_EQ(session.n_tokens(), n_before);
                ASSERT_LT(++n_failed, 200);
            }
        }
        expected.evaluate({&token, 1});
        ASSERT_EQ(logits_of(session), logits_of(expected));
    }
    EXPECT_GT(n_failed, 1);
    EXPECT_GT(emulation::counts().graph_launches, 2 * static_cast<std::int64_t>(tokens.size()) - 4);
}

// Cancels 30 ms after it has begun; returns whether that came before the end.
Evaluated evaluate_cancelled(Session& session, text::TokenId token) {
    std::atomic<bool> cancelled{false};
    EvaluateOptions options;
    options.cancelled = &cancelled;
    std::thread killer([&cancelled] {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        cancelled = true;
    });
    const Evaluated result = session.evaluate({&token, 1}, options);
    killer.join();
    return result;
}

TEST_F(GpuGraphs, AStepIsCancelledWhileItWaitsForTheDisk) {
    cache::ReadFaults faults("delay_ms=20@1+");
    const auto slow = load(family_, tight(&faults));
    const auto sound = load(family_, tight(nullptr));
    Twins twins(*slow, *sound, session_);
    twins.evaluate(numbers(10, 5));
    twins.decode(numbers(30, 2));
    ASSERT_EQ(evaluate_cancelled(twins.graphed(), 50), Evaluated::cancelled);
    EXPECT_EQ(twins.graphed().n_tokens(), 7);
    twins.decode(numbers(50, 2));
}

TEST_F(GpuGraphs, AStepIsCancelledWhileItWaitsForTheGpu) {
    const auto engine = load(family_, without_slots());
    Twins twins(*engine, *engine, session_);
    twins.evaluate(numbers(10, 5));
    twins.decode(numbers(30, 2));
    emulation::set_kernel_delay_us(4000);
    ASSERT_EQ(evaluate_cancelled(twins.graphed(), 50), Evaluated::cancelled);
    emulation::set_kernel_delay_us(0);
    EXPECT_EQ(twins.graphed().n_tokens(), 7);
    twins.decode(numbers(50, 2));
}

TEST_F(GpuGraphs, ADeviceThatIsLostInAStepIsAnErrorAndNothingHangs) {
    const auto engine = load(family_, without_slots());
    Session session(*engine, session_);
    session.evaluate(numbers(10, 5));
    for (const text::TokenId token : {30, 31}) session.evaluate({&token, 1});
    emulation::set_kernel_delay_us(4000);
    std::thread fault([] {
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        emulation::lose_device(cudaErrorLaunchFailure, "a fault of the test");
    });
    const text::TokenId token = 32;
    test::expect_error(ErrorKind::device, {"a fault of the test"}, [&] { session.evaluate({&token, 1}); });
    fault.join();
    EXPECT_EQ(session.n_tokens(), 7);
}

std::atomic<int> n_warnings{0};

TEST_F(GpuGraphs, WhereACaptureIsRefusedOperationsDoTheSameWithAWarning) {
    struct Refusal {
        const char* call;
        int n_successes;
    };
    for (const Refusal refusal : {Refusal{"cudaStreamBeginCapture", 0},
                                  {"cudaLaunchKernel", 5},
                                  {"cudaStreamEndCapture", 0},
                                  {"cudaGraphInstantiate", 0}}) {
        const auto engine = load(family_, without_slots());
        Twins twins(*engine, *engine, session_);
        twins.evaluate(numbers(10, 5));
        twins.decode(numbers(30, 1));
        n_warnings = 0;
        set_log_sink([](LogLevel level, std::string_view line) {
            if (level == LogLevel::warning && line.find("without a CUDA graph") != std::string_view::npos)
                ++n_warnings;
        });
        emulation::fail_call(refusal.call, cudaErrorStreamCaptureUnsupported, refusal.n_successes);
        const std::int64_t n_launches = emulation::counts().graph_launches;
        twins.decode(numbers(40, 4));
        EXPECT_EQ(emulation::counts().graph_launches, n_launches) << refusal.call;
        EXPECT_EQ(n_warnings, 1) << refusal.call;
        set_log_sink(nullptr);
    }
}

}  // namespace
}  // namespace greenroom::runtime
