// Decoding by CUDA graphs on the emulated device: to the bit what the operations give one by one, whoever
// computes the experts and however many layers are the GPU's.

#include "tests/gpu/emulation/control.h"
#include "tests/runtime/graphed_twins.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <vector>

namespace greenroom::runtime {
namespace {

// The experts of both sessions were the same, called as often and found in the same places.
void expect_same(const VramCounters& counts, const VramCounters& expected) {
    EXPECT_EQ(counts.n_hits, expected.n_hits);
    EXPECT_EQ(counts.n_misses, expected.n_misses);
    EXPECT_EQ(counts.n_gpu_calls, expected.n_gpu_calls);
    EXPECT_EQ(counts.n_cpu_calls, expected.n_cpu_calls);
    EXPECT_EQ(counts.n_uploads, expected.n_uploads);
}

class GraphedFamilies : public testing::TestWithParam<std::tuple<Family, Room>> {
  protected:
    ~GraphedFamilies() override { emulation::reset(); }
};

TEST_P(GraphedFamilies, LogitsAreThoseOfTheOperationsToTheBit) {
    const auto& [family, room] = GetParam();
    const LoadOptions options = with_room(family, room);
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
    expect_same(counts, second->gpu()->usage().experts);
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

// Wherever the border between the CPU's layers and the GPU's is: dense layers and MoE layers of each kind lie
// on both sides of it, and all of them on one.
class GraphedSplits : public GraphedFamilies {};

TEST_P(GraphedSplits, LogitsAreThoseOfTheOperationsToTheBit) {
    const auto& [family, room] = GetParam();
    const auto prompt = numbers(10, 14);
    const auto tokens = numbers(12, 6);  // seen before: what they call may be there
    std::int64_t n_gpu_calls = 0;
    for (int n_on_gpu = 1; n_on_gpu <= n_layers(family); ++n_on_gpu) {
        SCOPED_TRACE(n_on_gpu);
        LoadOptions split;
        split.gpu.n_layers = n_on_gpu;
        const LoadOptions options = with_room(family, room, split);
        const auto first = load(family, options);
        const auto second = load(family, options);
        Twins twins(*first, *second, test::exact_session(24, 8));
        twins.evaluate(prompt);
        const std::int64_t n_launches = emulation::counts().graph_launches;
        twins.decode(tokens);
        EXPECT_EQ(emulation::counts().graph_launches - n_launches, std::ssize(tokens) - 1)
            << "all but the first";
        const VramCounters counts = first->gpu()->usage().experts;
        expect_same(counts, second->gpu()->usage().experts);
        EXPECT_GT(counts.n_cpu_calls, 0);
        n_gpu_calls += counts.n_gpu_calls;
    }
    EXPECT_EQ(n_gpu_calls > 0, room != Room::none);
}

// One with 27 layers is left out: it has the same kinds of them as deepseek2.
std::vector<Family> families_of_few_layers() {
    std::vector<Family> families{test::kGptOss};
    std::ranges::copy_if(test::kFamilies, std::back_inserter(families),
                         [](const Family& family) { return std::string(family.folder) != "deepseek2-lite"; });
    return families;
}

INSTANTIATE_TEST_SUITE_P(Family, GraphedSplits,
                         testing::Combine(testing::ValuesIn(families_of_few_layers()),
                                          testing::Values(Room::some)),
                         in_room_name);
INSTANTIATE_TEST_SUITE_P(Room, GraphedSplits,
                         testing::Combine(testing::Values(Family{"deepseek2"}, Family{"qwen3moe"}),
                                          testing::Values(Room::none, Room::all)),
                         in_room_name);

// Rows, rows with an indexer, rings, chunks, states.
class GraphedTimelines : public testing::TestWithParam<std::tuple<Family, Portion>> {
  protected:
    ~GraphedTimelines() override { emulation::reset(); }

    static std::unique_ptr<Engine> load_portion() {
        const auto& [family, portion] = GetParam();
        return load(family, with_portion(family, portion, without_slots()));
    }
};

TEST_P(GraphedTimelines, GoBackBetweenSteps) {
    const auto engine = load_portion();
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

constexpr auto portion_of_family_name = [](const auto& param) {
    return test::family_name(std::get<0>(param.param)) + "_" + portion_name(std::get<1>(param.param));
};
INSTANTIATE_TEST_SUITE_P(Family, GraphedTimelines,
                         testing::Combine(testing::Values(Family{"deepseek2"}, Family{"deepseek32"},
                                                          test::kGptOss, Family{"llama4"},
                                                          Family{"qwen35moe"}),
                                          testing::Values(Portion::all, Portion::half)),
                         portion_of_family_name);

// Rows, rings, chunks, states; MLA's bounds are checked where its kernels are.
class GraphedGrowth : public GraphedTimelines {};

TEST_P(GraphedGrowth, GoesBeyondWhatAGraphWasCapturedFor) {
    const auto engine = load_portion();
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
                         testing::Combine(testing::Values(Family{"qwen3moe"}, test::kGptOss, Family{"llama4"},
                                                          Family{"qwen35moe"}),
                                          testing::Values(Portion::all)),
                         portion_of_family_name);
INSTANTIATE_TEST_SUITE_P(Split, GraphedGrowth,
                         testing::Combine(testing::Values(Family{"qwen3moe"}, Family{"llama4"}),
                                          testing::Values(Portion::half)),
                         portion_of_family_name);

class GpuGraphs : public testing::Test {
  protected:
    ~GpuGraphs() override { emulation::reset(); }

    const Family family_{"deepseek2"};
    const SessionOptions session_ = test::exact_session(40, 8);
};

TEST_F(GpuGraphs, SessionsTakeTurnsStepByStep) {
    const auto first = load(family_, {});
    const auto second = load(family_, {});
    std::vector<std::unique_ptr<Twins>> twins;
    for (int i = 0; i < 2; ++i) {
        twins.push_back(std::make_unique<Twins>(*first, *second, session_));
        twins.back()->evaluate(numbers(10 + 40 * i, 9));
    }
    for (int step = 0; step < 8; ++step)
        for (int i = 0; i < 2; ++i) twins[static_cast<std::size_t>(i)]->decode(numbers(7 * step + i, 1));
}

TEST_F(GpuGraphs, RoundedActivationsAndCachesAreRoundedTheSame) {
    const auto first = load(test::kGptOss, {});
    const auto second = load(test::kGptOss, {});
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

// By the CPU's layers, too, of the GPU's.
TEST_F(GpuGraphs, WhatIsGuessedInAStepIsReadAhead) {
    const Family family{"qwen3moe"};
    for (const Portion portion : {Portion::all, Portion::all_but_first, Portion::half}) {
        SCOPED_TRACE(portion_name(portion));
        LoadOptions options = tight(nullptr);
        options.experts.prefetch_layers = 2;
        options = with_portion(family, portion, options);
        const auto first = load(family, options);
        const auto second = load(family, options);
        Twins twins(*first, *second, session_);
        twins.evaluate(numbers(10, 9));
        twins.decode(numbers(60, 8));
        for (const int distance : {1, 2}) {
            EXPECT_GT(first->experts()->foresight(distance).n_foreseen, 0);
            EXPECT_EQ(first->experts()->foresight(distance).n_foreseen,
                      second->experts()->foresight(distance).n_foreseen);
        }
    }
}

}  // namespace
}  // namespace greenroom::runtime
