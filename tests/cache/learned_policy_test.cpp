#include "cache/learned_policy.h"
#include "cache/policies.h"
#include "cache/simulator.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>
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

// Experts of fixed popularity, times one that wanders: drift 0 is a text that never changes its mind. Each
// request is top_k experts by popularity and chance (Gumbel noise: sampling without replacement).
Trace popularities(double drift, unsigned seed) {
    constexpr double kKept = 0.98;
    std::mt19937 generator(seed);
    const auto uniform = [&] { return (static_cast<double>(generator()) + 0.5) / 0x1p32; };
    const auto normal = [&] {
        double sum = -6;
        for (int i = 0; i < 12; ++i) sum += uniform();
        return sum;
    };
    Trace trace;
    trace.n_tokens = 1000;
    trace.n_layers = 4;
    trace.top_k = 4;
    trace.n_experts = 48;
    std::vector<double> fixed(4 * 48);
    std::vector<double> wandering(fixed.size());
    for (double& value : fixed) value = normal() * (drift > 0 ? 0.6 : 1.2);
    for (double& value : wandering) value = normal() * drift;
    for (std::int64_t token = 0; token < trace.n_tokens; ++token) {
        for (std::size_t layer = 0; layer < 4; ++layer) {
            std::vector<std::pair<double, std::uint16_t>> order;
            for (std::size_t e = 0; e < 48; ++e) {
                double& value = wandering[layer * 48 + e];
                value = kKept * value + std::sqrt(1 - kKept * kKept) * drift * normal();
                order.emplace_back(fixed[layer * 48 + e] + value - std::log(-std::log(uniform())),
                                   static_cast<std::uint16_t>(e));
            }
            std::sort(order.rbegin(), order.rend());
            for (std::size_t k = 0; k < 4; ++k) trace.experts.push_back(order[k].second);
        }
    }
    trace.sequence.resize(static_cast<std::size_t>(trace.n_tokens));
    trace.phase.resize(static_cast<std::size_t>(trace.n_tokens));
    return trace;
}

// Themes that change all at once, and of which the last few fit, are where LRU is hard to beat: it is one
// point from the optimum. The decayed frequency holds on to what is over.
TEST(LearnedPolicy, LearnsToLetGoOfWhatIsOver) {
    const Trace trace = themes(4000);
    for (const Scope scope : {Scope::layer, Scope::global}) {
        const double learned = hit_rate(trace, "learned", scope, 0.25);
        EXPECT_GT(learned, hit_rate(trace, "decay", scope, 0.25) + 1.5) << scope_name(scope);
        EXPECT_GT(learned, hit_rate(trace, "lru", scope, 0.25) - 0.25) << scope_name(scope);
    }
}

TEST(LearnedPolicy, BeatsADecayedFrequencyWherePopularityStays) {
    const Trace trace = popularities(0, 3);
    for (const double size : {0.15, 0.25, 0.35, 0.50, 0.60})
        EXPECT_GE(hit_rate(trace, "learned", Scope::layer, size),
                  hit_rate(trace, "decay", Scope::layer, size))
            << size;
}

// A decay of 0.95 fits such a text, so there is nothing to gain. 0.15 points are 24 of the 16000 calls.
TEST(LearnedPolicy, LosesNothingWhereADecayedFrequencyFits) {
    const Trace trace = popularities(1.2, 4);
    for (const double size : {0.15, 0.25, 0.35, 0.50, 0.60})
        EXPECT_GE(hit_rate(trace, "learned", Scope::layer, size),
                  hit_rate(trace, "decay", Scope::layer, size) - 0.15)
            << size;
}

// Too short to learn much: it must do no harm. 0.1 points are 8 of the 8478 calls.
TEST(LearnedPolicy, IsNoWorseThanADecayedFrequencyOnAShortTrace) {
    const Trace trace = read_trace(test::test_data("traces/qwen3-30b-a3b-short").string());
    for (int percent = 15; percent <= 60; percent += 5) {
        const double size = percent / 100.0;
        const double decay = hit_rate(trace, "decay", Scope::layer, size);
        EXPECT_GE(hit_rate(trace, "learned", Scope::layer, size), decay - 0.1) << size;
        EXPECT_GE(hit_rate(trace, "learned", Scope::global, size),
                  hit_rate(trace, "decay", Scope::global, size) - 0.1)
            << size;
        // From half of the experts on, nearly all misses are first calls, the same for any policy.
        const double lru = hit_rate(trace, "lru", Scope::layer, size);
        EXPECT_GE(hit_rate(trace, "learned", Scope::layer, size), percent < 45 ? lru + 0.1 : lru) << size;
    }
}

// Texts of 156 tokens end before much is learned.
TEST(LearnedPolicy, MatchesTheDecayedFrequencyOnShortRecordedTraces) {
    GREENROOM_ORACLE_OR_SKIP(traces, "traces");
    for (const char* name : {"gemma4-26b-a4b-top6", "qwen3-30b-a3b-top6of8"}) {
        const Trace trace = read_trace((traces / name).string());
        for (int percent = 15; percent <= 60; percent += 5)
            for (const Scope scope : {Scope::layer, Scope::global})
                EXPECT_GE(hit_rate(trace, "learned", scope, percent / 100.0),
                          hit_rate(trace, "decay", scope, percent / 100.0))
                    << name << ' ' << scope_name(scope) << ' ' << percent;
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
