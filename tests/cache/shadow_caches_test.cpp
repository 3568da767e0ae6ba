#include "cache/shadow_caches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <utility>
#include <vector>

namespace greenroom::cache {
namespace {

constexpr std::size_t kExperts = 8;
constexpr CacheShape kShape{.n_layers = 2, .n_experts = 8, .top_k = 2, .n_slots = 8};

class ShadowCachesTest : public testing::Test {
  protected:
    // A token that calls the same in both layers. Recency is kept here; the other two are what the test says.
    void call(std::vector<std::int32_t> experts) {
        ++now_;
        for (const std::int32_t e : experts)
            last_calls_[static_cast<std::size_t>(e)] = static_cast<double>(now_);
        for (int layer = 0; layer < kShape.n_layers; ++layer)
            shadows_.observe({.layer = layer, .step = now_, .experts = experts},
                             {frequencies_, estimates_, last_calls_});
    }

    ShadowCaches shadows_{kShape};
    std::int64_t now_ = 0;
    std::array<double, kExperts> frequencies_{}, estimates_{}, last_calls_{};
};

TEST_F(ShadowCachesTest, BeginWithTheFrequencyAndKeepItWhileAllAreEqual) {
    std::mt19937 generator(1);
    EXPECT_EQ(shadows_.leader(), Ranking::frequency);
    for (int i = 0; i < 1000; ++i) {
        const auto first = static_cast<std::int32_t>(generator() % kExperts);
        call({first, (first + 1) % 8});  // with all scores equal, each ranking is recency
        ASSERT_EQ(shadows_.leader(), Ranking::frequency);
    }
}

// Four pairs of experts take turns, and a layer has four slots: who keeps the first pair hits it every time,
// and recency hits nothing.
TEST_F(ShadowCachesTest, FollowWhoKnowsBetter) {
    estimates_ = {1, 1, 0.1, 0.1, 0, 0, 0, 0};
    for (int i = 0; i < 50; ++i) call({2 * (i % 4), 2 * (i % 4) + 1});
    EXPECT_EQ(shadows_.leader(), Ranking::learned);
}

TEST_F(ShadowCachesTest, FollowRecencyWhereItIsBest) {
    // What is over scores high with the other two.
    frequencies_ = {9, 9, 9, 9, 0, 0, 0, 0};
    estimates_ = frequencies_;
    for (int i = 0; i < 4; ++i) call({i % 4, (i + 1) % 4});
    for (int i = 0; i < 50; ++i) call({4 + i % 4, 4 + (i + 1) % 4});
    EXPECT_EQ(shadows_.leader(), Ranking::recency);
}

TEST_F(ShadowCachesTest, GoBackWhenTheLeaderIsNoLongerBest) {
    estimates_ = {1, 1, 0.1, 0.1, 0, 0, 0, 0};
    for (int i = 0; i < 50; ++i) call({2 * (i % 4), 2 * (i % 4) + 1});
    ASSERT_EQ(shadows_.leader(), Ranking::learned);
    std::swap(frequencies_, estimates_);
    for (int i = 0; i < 200; ++i) call({2 * (i % 4), 2 * (i % 4) + 1});
    EXPECT_EQ(shadows_.leader(), Ranking::frequency);
}

// Whatever is called is as good as anything else.
TEST_F(ShadowCachesTest, SeldomLeaveTheFrequencyForAStreakOfRecency) {
    std::mt19937 generator(2);
    int n_recency = 0;
    for (int i = 0; i < 5000; ++i) {
        std::generate(frequencies_.begin(), frequencies_.end(), [&] { return generator() % 100; });
        estimates_ = frequencies_;
        const auto first = static_cast<std::int32_t>(generator() % kExperts);
        call({first, static_cast<std::int32_t>((static_cast<unsigned>(first) + 1 + generator() % 7) % 8)});
        n_recency += shadows_.leader() == Ranking::recency ? 1 : 0;
    }
    EXPECT_EQ(n_recency, 0);
}

TEST(ShadowCaches, QuotasOfNothingAndOfLessThanARequest) {
    for (const std::int64_t n_slots : {0, 1, 3, 16}) {
        ShadowCaches shadows({.n_layers = 2, .n_experts = 8, .top_k = 4, .n_slots = n_slots});
        std::array<double, kExperts> scores{};
        for (std::int32_t i = 0; i < 100; ++i) {
            const std::array<std::int32_t, 4> experts{i % 8, (i + 1) % 8, (i + 3) % 8, (i + 4) % 8};
            shadows.observe({.layer = i % 2, .step = i / 2, .experts = experts}, {scores, scores, scores});
        }
        EXPECT_EQ(shadows.leader(), Ranking::frequency) << n_slots;
    }
}

}  // namespace
}  // namespace greenroom::cache
