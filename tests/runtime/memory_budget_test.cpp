#include "runtime/memory_budget.h"

#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <vector>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kGiB = 1 << 30;

constexpr MemoryNeeds kNeeds{.program = 100 * kMiB,
                             .resident = 2 * kGiB,
                             .sessions = 400 * kMiB,
                             .least_experts = 50 * kMiB,
                             .most_experts = 20 * kGiB};

TEST(MemoryBudget, ExpertsGetWhatIsLeft) {
    const MemoryBudget budget = share_out_memory("m.gguf", kNeeds, 8 * kGiB, 16 * kGiB);
    EXPECT_EQ(budget.total, 8 * kGiB);
    EXPECT_EQ(budget.experts, 6 * kGiB - 500 * kMiB);
    EXPECT_EQ(budget.sessions, 400 * kMiB);
}

TEST(MemoryBudget, WhatExpertsDoNotNeedIsForMoreSessions) {
    const MemoryBudget budget = share_out_memory("m.gguf", kNeeds, 30 * kGiB, 60 * kGiB);
    EXPECT_EQ(budget.experts, 20 * kGiB);
    EXPECT_EQ(budget.sessions, 8 * kGiB - 100 * kMiB);
}

TEST(MemoryBudget, WithoutABudgetItIsWhatIsFreeLessAReserve) {
    const MemoryBudget budget = share_out_memory("m.gguf", kNeeds, 0, 10 * kGiB);
    EXPECT_LT(budget.total, 10 * kGiB + kNeeds.program - 256 * kMiB);
    EXPECT_GT(budget.total, 9 * kGiB);
    // On a small machine the reserve is small, too.
    const MemoryNeeds small{.program = 10 * kMiB, .resident = 10 * kMiB, .most_experts = kGiB};
    EXPECT_EQ(share_out_memory("m.gguf", small, 0, 100 * kMiB).total, 85 * kMiB);
}

TEST(MemoryBudget, TooLittleIsAnErrorThatSaysWhatItTakesAndForWhat) {
    const auto least = kNeeds.least();
    EXPECT_EQ(share_out_memory("m.gguf", kNeeds, least, 16 * kGiB).experts, kNeeds.least_experts);
    test::expect_error(
        ErrorKind::out_of_memory,
        {"m.gguf", "at least 2.54 GiB", "2.00 GiB for the weights", "400.0 MiB for the context",
         "50.0 MiB for experts", "2.50 GiB is what --ram allows", "--ram 2600MiB", "-c"},
        [&] { share_out_memory("m.gguf", kNeeds, 2560 * kMiB, 16 * kGiB); });
    // Who meant GiB sees it.
    test::expect_error(ErrorKind::out_of_memory, {"8 B is what --ram allows"},
                       [&] { share_out_memory("m.gguf", kNeeds, 8, 16 * kGiB); });
    test::expect_error(ErrorKind::out_of_memory, {"at least 2.54 GiB", "is free, less a reserve"},
                       [&] { share_out_memory("m.gguf", kNeeds, 0, 2 * kGiB); });
}

TEST(MemoryBudget, MoreThanThereIsCannotBePromised) {
    test::expect_error(ErrorKind::out_of_memory, {"--ram", "32.00 GiB", "16.10 GiB can be had"},
                       [&] { share_out_memory("m.gguf", kNeeds, 32 * kGiB, 16 * kGiB); });
}

TEST(MemoryBudget, StagingIsGoneBeforeTheRestIsTaken) {
    MemoryNeeds needs = kNeeds;
    needs.staging = kNeeds.resident;
    EXPECT_EQ(needs.least(), kNeeds.least());
    needs.staging = 4 * kGiB;
    EXPECT_EQ(needs.least(), needs.program + needs.staging);
    test::expect_error(ErrorKind::out_of_memory, {"on their way to the GPU"},
                       [&] { share_out_memory("m.gguf", needs, 3 * kGiB, 16 * kGiB); });
    EXPECT_EQ(share_out_memory("m.gguf", needs, 8 * kGiB, 16 * kGiB).experts,
              share_out_memory("m.gguf", kNeeds, 8 * kGiB, 16 * kGiB).experts);
}

}  // namespace
}  // namespace greenroom::runtime
