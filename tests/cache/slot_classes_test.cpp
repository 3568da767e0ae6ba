#include "cache/slot_classes.h"

#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace greenroom::cache {
namespace {

constexpr std::int64_t kPage = 4096;

// n of each size in pages.
std::vector<std::int64_t> experts(std::initializer_list<std::pair<std::int64_t, int>> groups) {
    std::vector<std::int64_t> sizes;
    for (const auto& [pages, n] : groups)
        sizes.insert(sizes.end(), static_cast<std::size_t>(n), pages * kPage);
    return sizes;
}

TEST(SlotPlan, SizesThatDifferByABlockShareAClass) {
    const SlotPlan plan(experts({{300, 64}, {302, 64}, {400, 128}}), 1000 * 400 * kPage, 1);
    ASSERT_EQ(plan.classes().size(), 2U);
    EXPECT_EQ(plan.classes()[0].slot_bytes, 302 * kPage);
    EXPECT_EQ(plan.classes()[0].n_experts, 128);
    EXPECT_EQ(plan.classes()[0].n_slots, 128);  // the budget has room for all, and no more slots than experts
    EXPECT_EQ(plan.classes()[1].n_slots, 128);
    EXPECT_EQ(plan.class_of(300 * kPage), 0);
    EXPECT_EQ(plan.class_of(302 * kPage), 0);
    EXPECT_EQ(plan.class_of(400 * kPage), 1);
    test::expect_error(ErrorKind::internal, {}, [&] { plan.class_of(401 * kPage); });
}

TEST(SlotPlan, ClassesGetTheSameFractionAndFillTheBudget) {
    const auto sizes = experts({{300, 1000}, {400, 500}, {700, 40}});
    const std::int64_t all = (300 * 1000 + 400 * 500 + 700 * 40) * kPage;
    for (const double fraction : {0.05, 0.3, 0.77, 0.999}) {
        const auto budget = static_cast<std::int64_t>(fraction * static_cast<double>(all));
        const SlotPlan plan(sizes, budget, 1);
        ASSERT_EQ(plan.classes().size(), 3U);
        EXPECT_LE(plan.total_bytes(), budget);
        EXPECT_LT(budget - plan.total_bytes(), 700 * kPage);
        for (const SlotClass& c : plan.classes())
            EXPECT_NEAR(static_cast<double>(c.n_slots), fraction * static_cast<double>(c.n_experts), 3.0);
    }
}

TEST(SlotPlan, SlotsFollowOneAnother) {
    const SlotPlan plan(experts({{3, 10}, {5, 10}}), 40 * kPage, 2);
    std::int64_t at = 0;
    for (int c = 0; c < 2; ++c) {
        for (std::int64_t slot = 0; slot < plan.classes()[static_cast<std::size_t>(c)].n_slots; ++slot) {
            EXPECT_EQ(plan.slot_offset(c, slot), at);
            at += plan.classes()[static_cast<std::size_t>(c)].slot_bytes;
        }
    }
    EXPECT_EQ(at, plan.total_bytes());
}

TEST(SlotPlan, EveryClassGetsTheMinimumOrTheErrorSaysWhatItTakes) {
    const auto sizes = experts({{100, 1000}, {200, 8}, {400, 3}});
    const SlotPlan plan(sizes, (8 * 100 + 8 * 200 + 3 * 400) * kPage, 8);
    EXPECT_EQ(plan.classes()[0].n_slots, 8);
    EXPECT_EQ(plan.classes()[1].n_slots, 8);
    EXPECT_EQ(plan.classes()[2].n_slots, 3);
    test::expect_error(ErrorKind::out_of_memory, {"at least 14745600 bytes", "8 slots", "3 sizes"},
                       [&] { SlotPlan(sizes, (8 * 100 + 8 * 200 + 3 * 400) * kPage - 1, 8); });
}

}  // namespace
}  // namespace greenroom::cache
