#include "runtime/admission.h"

#include <gtest/gtest.h>

#include <limits>

namespace greenroom::runtime {
namespace {

TEST(Admission, UploadsAreAShareOfTheMissesLessThoseUnderWay) {
    EXPECT_EQ(uploads_to_begin(0.25, 100, 0), 25);
    EXPECT_EQ(uploads_to_begin(0.25, 100, 10), 15);
    EXPECT_EQ(uploads_to_begin(0.25, 100, 40), 0);
    EXPECT_EQ(uploads_to_begin(1, 7, 0), 7);
}

TEST(Admission, AnIdleLinkTakesOneHoweverSmallTheShare) {
    EXPECT_EQ(uploads_to_begin(0, 100, 0), 1);
    EXPECT_EQ(uploads_to_begin(0.01, 3, 0), 1);
    EXPECT_EQ(uploads_to_begin(0.25, 0, 0), 1);
    EXPECT_EQ(uploads_to_begin(0.01, 3, 1), 0);
}

TEST(Admission, ExpertsOfNearlyEqualScoreDoNotDisplaceEachOther) {
    EXPECT_TRUE(is_worth_more(2, 1, 5));
    EXPECT_FALSE(is_worth_more(1.1, 1, 5));
    EXPECT_FALSE(is_worth_more(1, 1, 5));
    EXPECT_FALSE(is_worth_more(0.5, 1, 5));
    // One of the two would have to gain a twentieth of the range before they change places again.
    double a = 1;
    double b = 1.01;
    int n_changes = 0;
    for (int step = 0; step < 100; ++step) {
        if (is_worth_more(b, a, 5)) {
            std::swap(a, b);
            ++n_changes;
        }
        a += step % 2 == 0 ? 0.02 : 0;
        b += step % 2 == 0 ? 0 : 0.02;
    }
    EXPECT_EQ(n_changes, 0);
}

TEST(Admission, TheUnitOfScoresDoesNotMatter) {
    for (const double unit : {1e-6, 1.0, 1e6})
        for (const double zero : {-1e3, 0.0, 1e3}) {
            EXPECT_TRUE(is_worth_more(zero + 2 * unit * 1e3, zero + unit * 1e3, zero + 5 * unit * 1e3));
            EXPECT_FALSE(is_worth_more(zero + 1.1 * unit * 1e3, zero + unit * 1e3, zero + 5 * unit * 1e3));
        }
}

TEST(Admission, WhoHasNeverBeenCalledGoesForAnybodyWhoHas) {
    constexpr double kNever = -std::numeric_limits<double>::infinity();
    EXPECT_TRUE(is_worth_more(0, kNever, 5));
    EXPECT_TRUE(is_worth_more(0, kNever, kNever));
    EXPECT_FALSE(is_worth_more(kNever, kNever, 5));
    // Nobody is there but the one that would go.
    EXPECT_TRUE(is_worth_more(2, 1, 1));
}

}  // namespace
}  // namespace greenroom::runtime
