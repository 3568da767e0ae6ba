// Means and deviations of `greenroom bench`. What it prints is looked at from outside:
// bench_command_test.cpp.

#include "tools/bench_report.h"

#include <gtest/gtest.h>

namespace greenroom::tools {
namespace {

TEST(Spread, IsThatOfASample) {
    const Spread spread = spread_of({2, 4, 4, 4, 5, 5, 7, 9});
    EXPECT_DOUBLE_EQ(spread.mean, 5);
    EXPECT_DOUBLE_EQ(spread.deviation * spread.deviation, 32.0 / 7);
}

TEST(Spread, OfOneValueOrEqualOnesIsZero) {
    EXPECT_EQ(spread_of({3}).mean, 3);
    EXPECT_EQ(spread_of({3}).deviation, 0);
    EXPECT_EQ(spread_of({1e9, 1e9, 1e9}).deviation, 0);
    EXPECT_EQ(spread_of({}).mean, 0);
}

}  // namespace
}  // namespace greenroom::tools
