#include "cache/slot_plan.h"

#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <vector>

namespace greenroom::cache {
namespace {

constexpr std::int64_t kPage = 4096;
constexpr int kExperts = 100;

// As many layers of each size, in pages.
std::vector<std::int64_t> layers(std::initializer_list<std::pair<std::int64_t, int>> groups) {
    std::vector<std::int64_t> sizes;
    for (const auto& [pages, n] : groups)
        sizes.insert(sizes.end(), static_cast<std::size_t>(n), pages * kPage);
    return sizes;
}

SlotPlanOptions options(std::int64_t budget_pages, std::int64_t n_spare = 10) {
    return {.n_experts = kExperts, .top_k = 4, .n_spare = n_spare, .budget_bytes = budget_pages * kPage};
}

TEST(SlotPlan, LayersThatDifferByABlockShareAClass) {
    const auto sizes = layers({{300, 2}, {302, 1}, {400, 2}});
    const SlotPlan plan(sizes, options(1'000'000));
    ASSERT_EQ(plan.classes().size(), 2U);
    EXPECT_EQ(plan.classes()[0].slot_bytes, 302 * kPage);
    EXPECT_EQ(plan.class_of_layer(0), 0);
    EXPECT_EQ(plan.class_of_layer(2), 0);
    EXPECT_EQ(plan.class_of_layer(4), 1);
    // Room for all: no more slots than experts, and none to spare.
    EXPECT_EQ(plan.classes()[0].n_slots(), 300);
    EXPECT_EQ(plan.classes()[1].n_slots(), 200);
    EXPECT_EQ(plan.n_kept(), 500);
    EXPECT_EQ(plan.total_bytes(), SlotPlan::most_bytes(sizes, options(0)));
}

TEST(SlotPlan, QuotasAreThePolicysAndTheBudgetIsFilled) {
    const auto sizes = layers({{300, 10}, {400, 5}, {700, 4}});
    const std::int64_t all = SlotPlan::most_bytes(sizes, options(0)) / kPage;
    for (const double fraction : {0.15, 0.3, 0.77, 0.999}) {
        const auto budget = static_cast<std::int64_t>(fraction * static_cast<double>(all));
        const SlotPlan plan(sizes, options(budget));
        EXPECT_LE(plan.total_bytes(), budget * kPage);
        if (fraction < 0.99) {
            EXPECT_LT(budget * kPage - plan.total_bytes(), 700 * kPage);
        }
        const CacheShape shape{.n_layers = 19, .n_experts = kExperts, .n_slots = plan.n_kept()};
        std::vector<std::int64_t> kept(3);
        for (int i = 0; i < shape.n_layers; ++i)
            kept[static_cast<std::size_t>(plan.class_of_layer(i))] += shape.quota(i);
        for (std::size_t c = 0; c < 3; ++c) {
            EXPECT_EQ(plan.classes()[c].n_kept, kept[c]);
            EXPECT_GE(plan.classes()[c].n_spare, fraction < 0.99 ? 10 : 0);
        }
    }
}

TEST(SlotPlan, SlotsFollowOneAnother) {
    const SlotPlan plan(layers({{3, 1}, {5, 1}}), options(400));
    std::int64_t at = 0;
    for (int c = 0; c < 2; ++c) {
        for (std::int64_t slot = 0; slot < plan.classes()[static_cast<std::size_t>(c)].n_slots(); ++slot) {
            EXPECT_EQ(plan.slot_offset(c, slot), at);
            at += plan.classes()[static_cast<std::size_t>(c)].slot_bytes;
        }
    }
    EXPECT_EQ(at, plan.total_bytes());
}

TEST(SlotPlan, WithLittleMemoryTheSpareSlotsComeFirst) {
    const auto sizes = layers({{100, 3}, {200, 3}});
    const SlotPlan tiny(sizes, options(300));  // one slot of each size
    EXPECT_EQ(tiny.n_kept(), 0);
    EXPECT_EQ(tiny.classes()[0].n_spare, 1);
    EXPECT_EQ(tiny.classes()[1].n_spare, 1);
    const SlotPlan small(sizes, options(6 * 300));  // a token's four of each, and what is left
    EXPECT_EQ(small.classes()[0].n_spare, 4);
    EXPECT_EQ(small.classes()[1].n_spare, 4);
    EXPECT_GT(small.n_kept(), 0);
    const SlotPlan large(sizes, options(30 * 300));  // at most a quarter
    EXPECT_EQ(large.classes()[0].n_spare, 7);
}

TEST(SlotPlan, TooLittleMemoryIsAnErrorThatSaysWhatItTakes) {
    const auto sizes = layers({{100, 3}, {200, 3}});
    EXPECT_EQ(SlotPlan::least_bytes(sizes, options(0)), 300 * kPage);
    test::expect_error(ErrorKind::out_of_memory, {"at least 1228800", "2 sizes"},
                       [&] { SlotPlan(sizes, options(299)); });
}

TEST(SlotPlan, InTheGlobalScopeAnyExpertFitsAnySlot) {
    SlotPlanOptions global = options(1000);
    global.scope = Scope::global;
    const SlotPlan plan(layers({{100, 3}, {200, 3}}), global);
    ASSERT_EQ(plan.classes().size(), 1U);
    EXPECT_EQ(plan.classes()[0].slot_bytes, 200 * kPage);
    EXPECT_EQ(plan.classes()[0].n_slots(), 5);
}

}  // namespace
}  // namespace greenroom::cache
