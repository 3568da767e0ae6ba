// The router on the GPU against the CPU's: the same experts in the same order, ties and all.

#include "gpu/kernels/router.h"

#include "cpu/router.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/lane_orders.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::random_floats;
using test::DeviceArray;
using Scoring = RouterRule::Scoring;

RouterRule rule_of(int n_experts, int top_k, Scoring scoring) {
    RouterRule rule;
    rule.n_experts = n_experts;
    rule.top_k = top_k;
    rule.scoring = scoring;
    return rule;
}

class RouterTest : public test::GpuTest {
  protected:
    struct Choice {
        std::vector<std::int32_t> experts;
        std::vector<float> weights;
    };

    Choice choose(const std::vector<float>& logits, const RouterRule& rule, const std::vector<float>& bias) {
        Stream stream;
        const std::int64_t n_tokens = static_cast<std::int64_t>(logits.size()) / rule.n_experts;
        const auto n_calls = static_cast<std::size_t>(n_tokens * rule.top_k);
        const DeviceArray<float> device_logits(stream, logits);
        const DeviceArray<float> device_bias(stream, bias.empty() ? std::vector<float>{0.0F} : bias);
        const DeviceArray<std::int32_t> experts(stream, n_calls);
        const DeviceArray<float> weights(stream, n_calls);
        route(stream, {experts.data(), n_calls}, {weights.data(), n_calls},
              device_logits.matrix(n_tokens, rule.n_experts), {device_bias.data(), bias.size()}, rule);
        return {experts.download(), weights.download()};
    }

    void expect_as_on_cpu(const std::vector<float>& logits, const RouterRule& rule,
                          const std::vector<float>& bias = {}) {
        const std::int64_t n_tokens = static_cast<std::int64_t>(logits.size()) / rule.n_experts;
        cpu::ThreadTeam team(1);
        const cpu::Scratch scratch(1, 2 * rule.n_experts);
        Choice expected;
        expected.experts.resize(static_cast<std::size_t>(n_tokens * rule.top_k));
        expected.weights.resize(expected.experts.size());
        cpu::route(team, scratch, expected.experts, expected.weights,
                   {logits.data(), n_tokens, rule.n_experts, rule.n_experts}, bias, rule);
        const Choice actual = choose(logits, rule, bias);
        EXPECT_EQ(actual.experts, expected.experts);
        // e^x of another library (1 ulp) and up to 512 terms added in another order.
        for (std::size_t i = 0; i < expected.weights.size(); ++i)
            EXPECT_NEAR(actual.weights[i], expected.weights[i], 4e-6 * std::abs(expected.weights[i]) + 1e-37)
                << i;
    }
};

TEST_P(RouterTest, ChoosesAndWeighsAsTheCpuForEveryRule) {
    for (const Scoring scoring : {Scoring::softmax, Scoring::softmax_of_chosen, Scoring::sigmoid})
        for (const bool normalize : {false, true}) {
            RouterRule rule = rule_of(60, 6, scoring);
            rule.normalize = normalize;
            rule.scale = 2.5F;
            expect_as_on_cpu(random_floats(5 * 60, 31), rule);
            expect_as_on_cpu(random_floats(2 * 60, 32), rule, random_floats(60, 33, 0.2F));
        }
}

TEST_P(RouterTest, AnyNumberOfExpertsUpTo512) {
    for (const int n : {1, 2, 31, 32, 33, 127, 128, 511, 512})
        expect_as_on_cpu(random_floats(2 * n, 34), rule_of(n, n < 8 ? n : 8, Scoring::softmax));
    expect_as_on_cpu(random_floats(40, 35), rule_of(40, 40, Scoring::sigmoid));  // all of them, in order
}

TEST_P(RouterTest, GroupsLimitTheChoice) {
    for (const auto group_score : {RouterRule::GroupScore::best, RouterRule::GroupScore::best_two})
        for (const int n_groups : {2, 8, 64}) {
            RouterRule rule = rule_of(256, 8, Scoring::sigmoid);
            rule.n_groups = n_groups;
            rule.n_groups_used = n_groups / 2;
            rule.group_score = group_score;
            rule.normalize = true;
            expect_as_on_cpu(random_floats(3 * 256, 36), rule, random_floats(256, 37, 0.1F));
        }
}

TEST_P(RouterTest, EqualScoresGoToTheLowestIndex) {
    for (const Scoring scoring : {Scoring::softmax, Scoring::softmax_of_chosen, Scoring::sigmoid})
        expect_as_on_cpu(std::vector<float>(100, 0.25F), rule_of(100, 9, scoring));
    // Few different values, and zeros of both signs.
    std::vector<float> logits;
    for (int i = 0; i < 4 * 96; ++i)
        logits.push_back(i % 5 < 2 ? (i % 2 == 0 ? 0.0F : -0.0F) : static_cast<float>(i % 7));
    expect_as_on_cpu(logits, rule_of(96, 12, Scoring::softmax_of_chosen));
    RouterRule grouped = rule_of(96, 12, Scoring::softmax_of_chosen);
    grouped.n_groups = 6;
    grouped.n_groups_used = 3;
    expect_as_on_cpu(logits, grouped);
    expect_as_on_cpu(std::vector<float>(96, 1.0F), grouped);  // equal groups too
}

TEST_P(RouterTest, SpikesAndLogitsFarApart) {
    std::vector<float> logits(64, -1000.0F);
    logits[63] = 1000.0F;
    logits[17] = 999.0F;
    for (const Scoring scoring : {Scoring::softmax, Scoring::softmax_of_chosen, Scoring::sigmoid})
        expect_as_on_cpu(logits, rule_of(64, 4, scoring));
}

TEST_P(RouterTest, FewerCandidatesThanAreChosen) {
    RouterRule rule = rule_of(16, 6, Scoring::softmax_of_chosen);
    rule.n_groups = 4;
    rule.n_groups_used = 1;
    const auto logits = random_floats(16, 38);
    const Choice choice = choose(logits, rule, {});
    EXPECT_EQ(std::set<std::int32_t>(choice.experts.begin(), choice.experts.end()).size(), 6U);
    expect_as_on_cpu(logits, rule);
}

TEST_P(RouterTest, BrokenLogitsStillGiveDistinctExperts) {
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    const auto expect_same_experts = [&](const std::vector<float>& logits, const RouterRule& rule) {
        cpu::ThreadTeam team(1);
        const cpu::Scratch scratch(1, 2 * rule.n_experts);
        std::vector<std::int32_t> experts(static_cast<std::size_t>(rule.top_k));
        std::vector<float> weights(experts.size());
        cpu::route(team, scratch, experts, weights, {logits.data(), 1, rule.n_experts, rule.n_experts}, {},
                   rule);
        EXPECT_EQ(choose(logits, rule, {}).experts, experts);
    };
    for (const Scoring scoring : {Scoring::softmax, Scoring::softmax_of_chosen, Scoring::sigmoid}) {
        expect_same_experts(std::vector<float>(40, kNan), rule_of(40, 5, scoring));
        auto logits = random_floats(40, 39);
        logits[0] = kNan;
        logits[33] = kNan;
        expect_same_experts(logits, rule_of(40, 5, scoring));
        logits[0] = 1.0F;
        expect_same_experts(logits, rule_of(40, 5, scoring));
    }
}

GR_RUN_IN_LANE_ORDERS(RouterTest);

}  // namespace
}  // namespace greenroom::gpu
