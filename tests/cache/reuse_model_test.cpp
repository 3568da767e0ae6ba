#include "cache/reuse_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <vector>

namespace greenroom::cache {
namespace {

constexpr int kExperts = 16;
constexpr double kHorizon = 5;

class ReuseModelTest : public testing::Test {
  protected:
    double observe(int layer, std::int64_t step, std::vector<std::int32_t> experts, std::int32_t asked = 0) {
        model_.observe({.layer = layer, .step = step, .experts = experts}, kHorizon, estimates_);
        return estimates_[static_cast<std::size_t>(asked)];
    }

    ReuseModel model_{2, kExperts, 2};
    std::array<double, kExperts> estimates_{};
};

TEST_F(ReuseModelTest, KnowsNothingAtFirst) {
    observe(0, 0, {3, 4});
    for (std::int32_t i = 0; i < kExperts; ++i) {
        const bool was_called = i == 3 || i == 4;
        EXPECT_EQ(estimates_[static_cast<std::size_t>(i)] > 0, was_called) << i;
    }
}

TEST_F(ReuseModelTest, ComesToKnowHowOftenAnExpertIsCalled) {
    std::mt19937 generator(1);
    // Expert 0 is called by every second token at random, 1 never, others seldom. For a call with probability
    // q per token, E[discount^(d-1)] = q / (1 - (1 - q) · discount).
    double sum = 0;
    int n = 0;
    for (std::int64_t step = 0; step < 3000; ++step) {
        const auto other = static_cast<std::int32_t>(2 + generator() % (kExperts - 2));
        const bool called = generator() % 2 == 0;
        const double estimate = observe(0, step, called ? std::vector{0, other} : std::vector{other});
        EXPECT_NEAR(estimates_[1], 0, 0.2) << step;
        if (step < 1000) continue;
        sum += estimate;
        ++n;
    }
    EXPECT_NEAR(sum / n, 0.5 / (1 - 0.5 * 0.8), 0.05);
}

TEST_F(ReuseModelTest, LearnsWhoFollowsWhom) {
    std::mt19937 generator(2);
    // Expert 8 + i comes two tokens after expert i. Habit alone sees equally frequent calls.
    std::vector<std::int32_t> past{0, 0};
    double announced = 0;
    double others = 0;
    for (std::int64_t step = 0; step < 4000; ++step) {
        past.push_back(static_cast<std::int32_t>(generator() % 8));
        const std::int32_t now = past[past.size() - 1];
        observe(0, step, {now, 8 + past[past.size() - 3]});
        if (step < 3000) continue;
        for (std::int32_t i = 8; i < 16; ++i) {
            const bool is_announced = i == 8 + past[past.size() - 1] || i == 8 + past[past.size() - 2];
            (is_announced ? announced : others) +=
                estimates_[static_cast<std::size_t>(i)] / (is_announced ? 2 : 6);
        }
    }
    EXPECT_GT(announced, 1.5 * others);
}

TEST_F(ReuseModelTest, LearnsFromTheLayerBelow) {
    std::mt19937 generator(3);
    // What layer 0 calls now, layer 1 calls for the next token.
    std::int32_t before = 0;
    double announced = 0;
    double others = 0;
    for (std::int64_t step = 0; step < 4000; ++step) {
        const auto now = static_cast<std::int32_t>(generator() % 16);
        observe(0, step, {now});
        observe(1, step, {before});
        before = now;
        if (step < 3000) continue;
        announced += estimates_[static_cast<std::size_t>(now)];
        others += estimates_[static_cast<std::size_t>((now + 5) % 16)];
    }
    EXPECT_GT(announced, 2 * others);
}

TEST_F(ReuseModelTest, ABatchTellsOneLayerAllItsTokensFirst) {
    std::mt19937 generator(4);
    for (std::int64_t first = 0; first < 2000; first += 200)
        for (const int layer : {0, 1})
            for (std::int64_t step = first; step < first + 200; ++step)
                observe(layer, step, {static_cast<std::int32_t>(generator() % 4)});
    for (std::int32_t i = 0; i < 4; ++i) EXPECT_GT(estimates_[static_cast<std::size_t>(i)], 0.2) << i;
    for (std::int32_t i = 4; i < kExperts; ++i)
        EXPECT_NEAR(estimates_[static_cast<std::size_t>(i)], 0, 0.05) << i;
}

TEST_F(ReuseModelTest, StaysSaneWhateverItIsTold) {
    std::mt19937 generator(5);
    std::int64_t step = 0;
    for (int i = 0; i < 20000; ++i) {
        step += generator() % 100 == 0 ? generator() % 1'000'000'000 : generator() % 2;
        const auto layer = static_cast<int>(generator() % 2);
        const auto expert = static_cast<std::int32_t>(generator() % kExperts);
        std::vector<std::int32_t> experts;
        if (generator() % 5 != 0) experts.push_back(expert);
        if (generator() % 2 != 0) experts.push_back((expert + 1) % kExperts);
        if (generator() % 1000 == 0) step = -static_cast<std::int64_t>(generator());
        const double horizon = static_cast<double>(generator() % 1000) / 10;
        model_.observe({.layer = layer, .step = step, .experts = experts}, horizon, estimates_);
        for (const double estimate : estimates_) ASSERT_LT(std::fabs(estimate), 10) << i;  // and no NaN
    }
}

// The same requests for ever, with the farthest horizon: what is taught late must not make the rows swing.
TEST(ReuseModelLife, EqualRequestsAreLearnedAndStayLearned) {
    for (const double horizon : {1.0, 3.3, 50.0, 1e9}) {
        ReuseModel model(2, 8, 2);
        std::array<double, 8> estimates{};
        const std::array<std::int32_t, 2> experts{1, 2};
        for (std::int64_t step = 0; step < 30'000; ++step) {
            for (const int layer : {0, 1}) {
                model.observe({.layer = layer, .step = step, .experts = experts}, horizon, estimates);
                if (step < 2000) continue;
                for (std::size_t i = 0; i < 8; ++i)
                    ASSERT_NEAR(estimates[i], i == 1 || i == 2 ? 1 : 0, 0.1) << horizon << ' ' << step;
            }
        }
    }
}

TEST(ReuseModelLife, OneExpertOrAllOfThem) {
    for (const int n_experts : {1, 5, 16, 40}) {
        ReuseModel model(2, n_experts, n_experts);
        std::vector<double> estimates(static_cast<std::size_t>(n_experts));
        std::vector<std::int32_t> all(static_cast<std::size_t>(n_experts));
        for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int32_t>(i);
        for (std::int64_t step = 0; step < 3000; ++step)
            for (const int layer : {0, 1})
                model.observe({.layer = layer, .step = step, .experts = all}, 10, estimates);
        for (const double estimate : estimates) EXPECT_NEAR(estimate, 1, 0.1) << n_experts;
    }
}

// Two layers, of which the second is asked once in a thousand steps, and then for the same experts.
TEST(ReuseModelLife, TimeIsALayersOwn) {
    ReuseModel model(2, 16, 1);
    std::array<double, 16> estimates{};
    std::mt19937 generator(6);
    const std::array<std::int32_t, 1> rare{3};
    for (std::int64_t step = 0; step < 200'000; ++step) {
        const std::array<std::int32_t, 1> any{static_cast<std::int32_t>(generator() % 16)};
        model.observe({.layer = 0, .step = step, .experts = any}, 5, estimates);
        if (step % 1000 == 0) model.observe({.layer = 1, .step = step, .experts = rare}, 5, estimates);
        if (step > 100'000 && step % 1000 == 0) {
            ASSERT_GT(estimates[3], 0.7) << step;
        }
    }
}

// In batches of 512 tokens, layer by layer, layer 1 still finds what layer 0 called for the same token.
TEST(ReuseModelLife, ABatchDoesNotPartATokenFromTheLayerBelow) {
    ReuseModel model(2, 16, 1);
    std::array<double, 16> estimates{};
    std::mt19937 generator(7);
    std::vector<std::int32_t> below(512);
    double announced = 0;
    double others = 0;
    for (std::int64_t first = 0; first < 8192; first += 512) {
        for (std::size_t t = 0; t < below.size(); ++t) {
            below[t] = static_cast<std::int32_t>(generator() % 16);
            model.observe(
                {.layer = 0, .step = first + static_cast<std::int64_t>(t), .experts = {&below[t], 1}}, 5,
                estimates);
        }
        for (std::size_t t = 1; t < below.size(); ++t) {
            model.observe(
                {.layer = 1, .step = first + static_cast<std::int64_t>(t), .experts = {&below[t - 1], 1}}, 5,
                estimates);
            if (first < 4096) continue;
            announced += estimates[static_cast<std::size_t>(below[t])];
            others += estimates[static_cast<std::size_t>((below[t] + 5) % 16)];
        }
    }
    EXPECT_GT(announced, 2 * others);
}

}  // namespace
}  // namespace greenroom::cache
