#include "cache/learned_policy.h"
#include "cache/policies.h"
#include "cache/simulator.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <array>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace greenroom::cache {
namespace {

double hit_rate(const Trace& trace, std::string_view policy, Scope scope, double size) {
    return 100 * simulate(trace, policy, scope, size).hit_rate();
}

// Each token belongs to one of eight themes, which call experts of their own and change every 30 tokens or
// so.
Trace themes(std::int64_t n_tokens) {
    std::mt19937 generator(1);
    Trace trace;
    trace.n_tokens = n_tokens;
    trace.n_layers = 4;
    trace.top_k = 2;
    trace.n_experts = 32;
    unsigned theme = 0;
    for (std::int64_t token = 0; token < n_tokens; ++token) {
        if (generator() % 30 == 0) theme = generator() % 8;
        for (int layer = 0; layer < trace.n_layers; ++layer) {
            const unsigned first = theme * 4 + generator() % 4;
            trace.experts.push_back(static_cast<std::uint16_t>(first));
            trace.experts.push_back(
                static_cast<std::uint16_t>(theme * 4 + (first + 1 + generator() % 3) % 4));
        }
    }
    trace.sequence.resize(static_cast<std::size_t>(n_tokens));
    trace.phase.resize(static_cast<std::size_t>(n_tokens));
    return trace;
}

// Themes that change all at once, and of which the last few fit, are where LRU is hard to beat: it is one
// point from the optimum. Learning comes to it within one point, the decayed frequency holds on to what is
// over.
TEST(LearnedPolicy, LearnsToLetGoOfWhatIsOver) {
    const Trace trace = themes(4000);
    for (const Scope scope : {Scope::layer, Scope::global}) {
        const double learned = hit_rate(trace, "learned", scope, 0.25);
        EXPECT_GT(learned, hit_rate(trace, "decay", scope, 0.25) + 1) << scope_name(scope);
        EXPECT_GT(learned, hit_rate(trace, "lru", scope, 0.25) - 1) << scope_name(scope);
    }
}

// Too short to learn much: it must do no harm. 0.3 points are 25 of the 8478 calls.
TEST(LearnedPolicy, IsNoWorseThanADecayedFrequencyOnAShortTrace) {
    const Trace trace = read_trace(test::test_data("traces/qwen3-30b-a3b-short").string());
    for (const double size : {0.15, 0.20, 0.25, 0.30, 0.40, 0.50, 0.60}) {
        const double decay = hit_rate(trace, "decay", Scope::layer, size);
        EXPECT_GE(hit_rate(trace, "learned", Scope::layer, size), decay - 0.3) << size;
        EXPECT_GE(hit_rate(trace, "learned", Scope::global, size), decay - 0.3) << size;
        // From half of the experts on, nearly all misses are first calls, the same for any policy.
        const double lru = hit_rate(trace, "lru", Scope::layer, size);
        EXPECT_GE(hit_rate(trace, "learned", Scope::layer, size), size < 0.45 ? lru + 0.1 : lru) << size;
    }
}

// Texts of 156 tokens end before much is learned. 0.05 points are 14 and 22 calls.
TEST(LearnedPolicy, MatchesTheDecayedFrequencyOnShortRecordedTraces) {
    GREENROOM_ORACLE_OR_SKIP(traces, "traces");
    for (const char* name : {"gemma4-26b-a4b-top6", "qwen3-30b-a3b-top6of8"}) {
        const Trace trace = read_trace((traces / name).string());
        for (const double size : {0.15, 0.20, 0.25, 0.30, 0.40, 0.50, 0.60})
            EXPECT_GE(hit_rate(trace, kDefaultPolicy, kDefaultScope, size),
                      hit_rate(trace, "decay", Scope::layer, size) - 0.05)
                << name << ' ' << size;
    }
}

TEST(LearnedPolicy, GoesMoreThanAThirdOfTheWayFromLruToTheOptimumOnALongTrace) {
    GREENROOM_ORACLE_OR_SKIP(traces, "traces");
    const Trace trace = read_trace((traces / "deepseek-v2-lite-law").string());
    for (const double size : {0.15, 0.40}) {
        const double learned = hit_rate(trace, kDefaultPolicy, kDefaultScope, size);
        const double lru = hit_rate(trace, "lru", Scope::layer, size);
        const double optimum = hit_rate(trace, kOptimum, Scope::layer, size);
        EXPECT_GT(learned, hit_rate(trace, "decay", Scope::layer, size) + 3) << size;
        EXPECT_GT(learned, lru + 0.4 * (optimum - lru)) << size;
    }
}

TEST(LearnedPolicy, RepeatsItself) {
    const Trace trace = themes(500);
    for (const Scope scope : {Scope::layer, Scope::global})
        EXPECT_EQ(simulate(trace, "learned", scope, 0.25).n_hits,
                  simulate(trace, "learned", scope, 0.25).n_hits);
}

TEST(LearnedPolicy, OddProbabilitiesLeaveTheScoresFinite) {
    const auto policy =
        make_learned_policy({.n_layers = 1, .n_experts = 8, .top_k = 2, .n_slots = 4}, Scope::layer);
    const std::array<std::int32_t, 3> experts{1, 2, 3};
    const std::array<float, 3> odd{std::numeric_limits<float>::quiet_NaN(), 7.0F, -1.0F};
    policy->on_prediction({.layer = 0, .step = 0, .experts = experts, .probabilities = odd});
    EXPECT_EQ(policy->score({0, 1}), 0);
    EXPECT_EQ(policy->score({0, 2}), 1);
    EXPECT_EQ(policy->score({0, 3}), 0);
}

TEST(LearnedPolicy, APredictedExpertStays) {
    const auto policy =
        make_learned_policy({.n_layers = 2, .n_experts = 8, .top_k = 2, .n_slots = 4}, Scope::layer);
    const std::array<std::int32_t, 1> old{1};
    const std::array<std::int32_t, 1> recent{2};
    policy->on_request({.layer = 1, .step = 0, .experts = old});
    policy->on_load({1, 1});
    policy->on_request({.layer = 1, .step = 1, .experts = recent});
    policy->on_load({1, 2});
    EXPECT_EQ(policy->victim(1), (ExpertId{1, 1}));

    policy->on_prediction({.layer = 1, .step = 2, .experts = old});
    EXPECT_EQ(policy->score({1, 1}), 1);
    EXPECT_EQ(policy->victim(1), (ExpertId{1, 2}));

    policy->on_request({.layer = 1, .step = 2, .experts = recent});  // it was wrong, and is forgotten
    EXPECT_EQ(policy->victim(1), (ExpertId{1, 1}));
}

TEST(LearnedPolicy, AnUncertainPredictionCountsForLess) {
    const auto policy =
        make_learned_policy({.n_layers = 1, .n_experts = 8, .top_k = 2, .n_slots = 4}, Scope::global);
    const std::array<std::int32_t, 2> experts{1, 2};
    const std::array<float, 2> probabilities{0.25F, 0.75F};
    policy->on_prediction({.layer = 0, .step = 0, .experts = experts, .probabilities = probabilities});
    EXPECT_DOUBLE_EQ(policy->score({0, 1}), 0.25);
    EXPECT_DOUBLE_EQ(policy->score({0, 2}), 0.75);
    EXPECT_DOUBLE_EQ(policy->score({0, 3}), 0);
}

}  // namespace
}  // namespace greenroom::cache
