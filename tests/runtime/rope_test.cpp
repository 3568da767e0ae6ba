// Frequencies of the rotary embedding against numbers worked out from the papers' formulas.

#include "runtime/rope.h"

#include <gtest/gtest.h>

#include <cmath>

namespace greenroom::runtime {
namespace {

TEST(RopeFrequencies, PlainOnesFallGeometrically) {
    const auto frequencies = rope_frequencies(8, 10000.0F, {});
    ASSERT_EQ(frequencies.size(), 4U);
    for (std::size_t i = 0; i < 4; ++i)
        EXPECT_NEAR(frequencies[i], std::pow(10.0, -static_cast<double>(i)), 1e-7);
}

TEST(RopeFrequencies, LinearScalingDividesAll) {
    RopeScaling scaling;
    scaling.kind = RopeScaling::Kind::linear;
    scaling.factor = 4.0F;
    EXPECT_NEAR(rope_frequencies(8, 10000.0F, scaling)[1], 0.025, 1e-8);
}

// DeepSeek-V3: 64 dimensions, base 10000, 4096 → 163840. The pair that turns 32 times within 4096 positions
// is 64 · ln(4096 / (32 · 2π)) / (2 · ln 10000) = 10.47, the one that turns once 22.51.
TEST(RopeFrequencies, YarnKeepsFastPairsAndStretchesSlowOnes) {
    RopeScaling scaling;
    scaling.kind = RopeScaling::Kind::yarn;
    scaling.factor = 40.0F;
    scaling.original_context = 4096;
    const auto plain = rope_frequencies(64, 10000.0F, {});
    const auto yarn = rope_frequencies(64, 10000.0F, scaling);
    for (std::size_t i = 0; i <= 10; ++i) EXPECT_FLOAT_EQ(yarn[i], plain[i]) << i;
    for (std::size_t i = 23; i < 32; ++i) EXPECT_FLOAT_EQ(yarn[i], plain[i] / 40.0F) << i;
    // Between 10 and 23 the share of the stretched frequency rises evenly.
    const double share = (16.0 - 10.0) / (23.0 - 10.0);
    EXPECT_NEAR(yarn[16], plain[16] * (1 - share + share / 40), 1e-7);
}

// Kimi K2 has beta_fast = beta_slow = 1: the range is one pair wide.
TEST(RopeFrequencies, YarnWithEqualBetasIsAStep) {
    RopeScaling scaling;
    scaling.kind = RopeScaling::Kind::yarn;
    scaling.factor = 32.0F;
    scaling.original_context = 4096;
    scaling.beta_fast = 1.0F;
    const auto plain = rope_frequencies(64, 50000.0F, {});
    const auto yarn = rope_frequencies(64, 50000.0F, scaling);
    // 64 · ln(4096 / 2π) / (2 · ln 50000) = 19.16
    EXPECT_FLOAT_EQ(yarn[19], plain[19]);
    EXPECT_FLOAT_EQ(yarn[20], plain[20] / 32.0F);
}

// gpt-oss takes the range as it is: 10.47 to 22.51 in the example above.
TEST(RopeFrequencies, YarnWithoutRoundingStartsItsRampBetweenPairs) {
    RopeScaling scaling;
    scaling.kind = RopeScaling::Kind::yarn;
    scaling.factor = 40.0F;
    scaling.original_context = 4096;
    scaling.rounds_range = false;
    const auto plain = rope_frequencies(64, 10000.0F, {});
    const auto yarn = rope_frequencies(64, 10000.0F, scaling);
    EXPECT_FLOAT_EQ(yarn[10], plain[10]);
    EXPECT_FLOAT_EQ(yarn[23], plain[23] / 40.0F);
    const double share = (16.0 - 10.472) / (22.513 - 10.472);
    EXPECT_NEAR(yarn[16] / plain[16], 1 - share + share / 40, 1e-3);
}

TEST(YarnMagnitude, IsOneWithoutStretching) {
    EXPECT_EQ(yarn_magnitude(1.0F, 1.0F), 1.0F);
    EXPECT_EQ(yarn_magnitude(0.5F, 1.0F), 1.0F);
    EXPECT_NEAR(yarn_magnitude(40.0F, 1.0F), 0.1 * std::log(40.0) + 1, 1e-6);
    EXPECT_NEAR(yarn_magnitude(40.0F, 0.707F), 0.0707 * std::log(40.0) + 1, 1e-6);
}

}  // namespace
}  // namespace greenroom::runtime
