// The router's rules, on logits made to matter: spiky, equal, grouped, and on what no model should produce.

#include "cpu/router.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>
#include <vector>

namespace greenroom::cpu {
namespace {

struct Choice {
    std::vector<std::int32_t> experts;
    std::vector<float> weights;
};

Choice choose(const std::vector<float>& logits, const RouterRule& rule, const std::vector<float>& bias = {}) {
    ThreadTeam team(1);
    const Scratch scratch(1, 2 * rule.n_experts);
    Choice choice;
    choice.experts.resize(static_cast<std::size_t>(rule.top_k));
    choice.weights.resize(choice.experts.size());
    route(team, scratch, choice.experts, choice.weights, {logits.data(), 1, rule.n_experts, rule.n_experts},
          bias, rule);
    return choice;
}

RouterRule rule_of(int n_experts, int top_k, RouterRule::Scoring scoring) {
    RouterRule rule;
    rule.n_experts = n_experts;
    rule.top_k = top_k;
    rule.scoring = scoring;
    return rule;
}

double sigmoid(double v) { return 1 / (1 + std::exp(-v)); }

TEST(Router, SoftmaxWeightsAreThoseOverAllExperts) {
    const std::vector<float> logits = {1.0F, 3.0F, 2.0F, -50.0F};
    const Choice choice = choose(logits, rule_of(4, 2, RouterRule::Scoring::softmax));
    const double sum = std::exp(1.0) + std::exp(3.0) + std::exp(2.0);
    EXPECT_EQ(choice.experts, (std::vector<std::int32_t>{1, 2}));
    EXPECT_NEAR(choice.weights[0], std::exp(3.0) / sum, 1e-6);
    EXPECT_NEAR(choice.weights[1], std::exp(2.0) / sum, 1e-6);
}

TEST(Router, SoftmaxOfTheChosenLeavesTheOthersOut) {
    const Choice choice =
        choose({1.0F, 3.0F, 2.0F, -50.0F}, rule_of(4, 2, RouterRule::Scoring::softmax_of_chosen));
    EXPECT_EQ(choice.experts, (std::vector<std::int32_t>{1, 2}));
    EXPECT_NEAR(choice.weights[0], sigmoid(1), 1e-6);
    EXPECT_NEAR(choice.weights[1], sigmoid(-1), 1e-6);
}

TEST(Router, NormalizedWeightsSumToTheScale) {
    RouterRule rule = rule_of(4, 3, RouterRule::Scoring::sigmoid);
    rule.normalize = true;
    rule.scale = 2.5F;
    const Choice choice = choose({0.5F, -1.0F, 2.0F, 1.0F}, rule);
    EXPECT_EQ(choice.experts, (std::vector<std::int32_t>{2, 3, 0}));
    const double sum = sigmoid(2) + sigmoid(1) + sigmoid(0.5);
    EXPECT_NEAR(choice.weights[0], 2.5 * sigmoid(2) / sum, 1e-6);
    EXPECT_NEAR(choice.weights[0] + choice.weights[1] + choice.weights[2], 2.5, 1e-6);
}

TEST(Router, BiasDecidesTheChoiceButNotTheWeight) {
    const Choice choice =
        choose({3.0F, 0.0F, -3.0F}, rule_of(3, 1, RouterRule::Scoring::sigmoid), {0.0F, 0.0F, 1.0F});
    EXPECT_EQ(choice.experts, (std::vector<std::int32_t>{2}));
    EXPECT_NEAR(choice.weights[0], sigmoid(-3), 1e-6);
}

TEST(Router, EqualScoresGoToTheLowestIndex) {
    const Choice choice = choose({1.0F, 1.0F, 1.0F, 1.0F}, rule_of(4, 3, RouterRule::Scoring::softmax));
    EXPECT_EQ(choice.experts, (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(Router, GroupsAreRankedByTheirBestTwoOrTheirBest) {
    // Group 0 has the single best expert, group 1 the best pair.
    const std::vector<float> logits = {4.0F, -4.0F, 2.0F, 1.9F, 0.0F, 0.1F};
    RouterRule rule = rule_of(6, 2, RouterRule::Scoring::sigmoid);
    rule.n_groups = 3;
    rule.n_groups_used = 1;
    rule.group_score = RouterRule::GroupScore::best_two;
    EXPECT_EQ(choose(logits, rule).experts, (std::vector<std::int32_t>{2, 3}));
    rule.group_score = RouterRule::GroupScore::best;
    EXPECT_EQ(choose(logits, rule).experts, (std::vector<std::int32_t>{0, 1}));
}

TEST(Router, ExpertsOutsideTheBestGroupsAreNeverChosenEvenWithNegativeSelections) {
    RouterRule rule = rule_of(4, 2, RouterRule::Scoring::sigmoid);
    rule.n_groups = 2;
    rule.n_groups_used = 1;
    rule.group_score = RouterRule::GroupScore::best_two;
    const Choice choice = choose({0.0F, 0.0F, 0.0F, 0.0F}, rule, {-3.0F, -3.0F, -2.0F, -2.0F});
    EXPECT_EQ(choice.experts, (std::vector<std::int32_t>{2, 3}));
}

TEST(Router, ExtremeLogitsGiveFiniteWeights) {
    RouterRule rule = rule_of(3, 2, RouterRule::Scoring::sigmoid);
    rule.normalize = true;
    for (const float weight : choose({-1e30F, -1e30F, -1e30F}, rule).weights)
        EXPECT_TRUE(std::isfinite(weight));
    for (const float weight :
         choose({3e38F, -3e38F, 0.0F}, rule_of(3, 2, RouterRule::Scoring::softmax)).weights)
        EXPECT_TRUE(std::isfinite(weight));
}

TEST(Router, NaNLogitsStillChooseDistinctExpertsInRange) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    for (const auto scoring : {RouterRule::Scoring::softmax, RouterRule::Scoring::sigmoid}) {
        const Choice choice = choose({nan, nan, 1.0F, nan}, rule_of(4, 3, scoring));
        const std::set<std::int32_t> distinct(choice.experts.begin(), choice.experts.end());
        EXPECT_EQ(distinct.size(), 3U);
        EXPECT_GE(*distinct.begin(), 0);
        EXPECT_LT(*distinct.rbegin(), 4);
    }
}

}  // namespace
}  // namespace greenroom::cpu
