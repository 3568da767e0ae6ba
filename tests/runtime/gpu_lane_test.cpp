// The GPU's way through a model, on the emulated device: every architecture against the reference
// implementation, whoever computes the experts.

#include "runtime/gpu_lane.h"

#include "tests/gpu/emulation/control.h"
#include "tests/runtime/families.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <tuple>
#include <vector>

namespace greenroom::test {
namespace {

using runtime::Engine;
using runtime::GpuUsage;

// How many of the experts have room in VRAM.
enum class Room { none, some, all };

std::string room_name(Room room) { return room == Room::none ? "none" : room == Room::some ? "some" : "all"; }

std::unique_ptr<Engine> load(const Family& family, std::int64_t max_expert_bytes) {
    runtime::LoadOptions options;
    options.gpu.use = runtime::GpuOptions::Use::on;
    options.gpu.max_expert_bytes = max_expert_bytes;
    options.gpu.stream_above = runtime::GpuOptions::kNeverStream;
    return Engine::load((oracle_of(family).folder / family.file).string(), {2, {}, options});
}

std::unique_ptr<Engine> load(const Family& family, Room room) {
    if (room == Room::none) return load(family, 1);
    auto engine = load(family, 0);
    if (room == Room::all) return engine;
    const std::int64_t half = engine->gpu()->usage().expert_bytes / 2;
    engine.reset();
    return load(family, half);
}

// Sees the prompt until all experts that it calls are in VRAM; false if they never are.
bool bring_in_all(const Engine& engine, const std::vector<std::int32_t>& prompt) {
    constexpr int kMostPasses = 100;
    for (int pass = 0; pass < kMostPasses; ++pass) {
        const std::int64_t n_before = engine.gpu()->usage().experts.n_misses;
        all_logits(engine, prompt, 8);
        if (engine.gpu()->usage().experts.n_misses == n_before) return true;
    }
    return false;
}

class GpuFamilies : public testing::TestWithParam<std::tuple<Family, Room>> {};

TEST_P(GpuFamilies, LogitsAreTheReferencesWhoeverComputesTheExperts) {
    const Family& family = std::get<0>(GetParam());  // a lambda captures no structured binding
    const Room room = std::get<1>(GetParam());
    const OracleModel oracle = oracle_of(family);
    const auto engine = load(family, room);
    const auto expect_logits_after = [&](const char* prompt) {
        expect_logits(oracle, *engine, prompt, family.logits, family.max_difference);
    };
    expect_logits_after("p1");
    const auto tokens = oracle.ids("tokens_p1").values;
    if (room == Room::some) all_logits(*engine, tokens, 1);  // token by token: between two experts come in
    if (room == Room::all) {
        EXPECT_TRUE(bring_in_all(*engine, tokens));
    }
    expect_logits_after(room == Room::all ? "p1" : "p2");

    const GpuUsage usage = engine->gpu()->usage();
    EXPECT_GT(usage.experts.n_misses, 0);
    EXPECT_GT(usage.experts.n_cpu_calls, 0);
    EXPECT_EQ(usage.experts.n_gpu_calls > 0, room != Room::none);
    EXPECT_EQ(usage.experts.n_bytes_up > 0, room != Room::none);
    EXPECT_EQ(usage.n_on_stage > 0, room != Room::none);
    EXPECT_LE(usage.n_on_stage, usage.n_slots);
    EXPECT_LE(usage.used_bytes, usage.total_bytes);
    EXPECT_EQ(usage.experts.n_hits > 0, room != Room::none);
    EXPECT_EQ(usage.experts.n_uploads > 0, room != Room::none);
}

// What has hidden states, router choices and greedy tokens, too.
class GpuDumps : public testing::TestWithParam<Family> {};

TEST_P(GpuDumps, HiddenStatesRouterChoicesAndGreedyTokensAreTheReferences) {
    const OracleModel oracle = oracle_of(GetParam());
    const auto engine = load(GetParam(), Room::some);
    expect_hidden_and_router(oracle, *engine);
    expect_greedy(oracle, *engine, "p1");
}

// How much of a model the GPU runs.
enum class Split { output, half, all_but_first };

std::string split_name(Split split) {
    return split == Split::output ? "output" : split == Split::half ? "half" : "all_but_first";
}

std::unique_ptr<Engine> load(const Family& family, Split split) {
    const std::string path = (oracle_of(family).folder / family.file).string();
    const int n_layers = Engine::open(path)->spec().n_layers();
    runtime::LoadOptions options;
    options.gpu.use = runtime::GpuOptions::Use::on;
    options.gpu.n_layers = split == Split::output ? 1 : split == Split::half ? 1 + n_layers / 2 : n_layers;
    auto engine = Engine::load(path, {2, {}, options});
    EXPECT_EQ(engine->gpu()->usage().layers.size(), *options.gpu.n_layers);
    return engine;
}

class GpuSplits : public testing::TestWithParam<std::tuple<Family, Split>> {};

TEST_P(GpuSplits, LogitsAreTheReferencesWhereverALayerRuns) {
    const auto& [family, split] = GetParam();
    const OracleModel oracle = oracle_of(family);
    const auto engine = load(family, split);
    for (const char* prompt : {"p1", "p2"}) {
        all_logits(*engine, oracle.ids(std::string("tokens_") + prompt).values, 8);
        expect_logits(oracle, *engine, prompt, family.logits, family.max_difference);
    }
    const GpuUsage usage = engine->gpu()->usage();
    EXPECT_LE(usage.used_bytes, usage.total_bytes);
    EXPECT_GT(usage.experts.n_cpu_calls, 0);
    EXPECT_EQ(usage.n_slots > 0, split != Split::output);
    EXPECT_EQ(usage.experts.n_hits > 0, split != Split::output);
}

class GpuSplitDumps : public testing::TestWithParam<Family> {};

TEST_P(GpuSplitDumps, HiddenStatesRouterChoicesAndGreedyTokensAreTheReferences) {
    const OracleModel oracle = oracle_of(GetParam());
    const auto engine = load(GetParam(), Split::half);
    expect_hidden_and_router(oracle, *engine);
    expect_greedy(oracle, *engine, "p1");
}

constexpr auto split_test_name = [](const auto& param) {
    return family_name(std::get<0>(param.param)) + "_" + split_name(std::get<1>(param.param));
};
constexpr auto in_room_name = [](const auto& param) {
    return family_name(std::get<0>(param.param)) + "_" + room_name(std::get<1>(param.param));
};
constexpr auto test_name = [](const auto& param) { return family_name(param.param); };
const auto kRooms = testing::Values(Room::none, Room::some, Room::all);

INSTANTIATE_TEST_SUITE_P(Family, GpuFamilies, testing::Combine(testing::ValuesIn(kFamilies), kRooms),
                         in_room_name);
INSTANTIATE_TEST_SUITE_P(GptOss, GpuFamilies, testing::Combine(testing::Values(kGptOss), kRooms),
                         in_room_name);
INSTANTIATE_TEST_SUITE_P(Family, GpuDumps, testing::ValuesIn(kFamilies), test_name);
const auto kSplits = testing::Values(Split::output, Split::half, Split::all_but_first);
INSTANTIATE_TEST_SUITE_P(Family, GpuSplits, testing::Combine(testing::ValuesIn(kFamilies), kSplits),
                         split_test_name);
INSTANTIATE_TEST_SUITE_P(GptOss, GpuSplits, testing::Combine(testing::Values(kGptOss), kSplits),
                         split_test_name);
INSTANTIATE_TEST_SUITE_P(Family, GpuSplitDumps, testing::ValuesIn(kFamilies), test_name);

}  // namespace
}  // namespace greenroom::test
