#include "cpu/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <vector>

namespace greenroom::cpu {
namespace {

TEST(ThreadTeam, EveryItemIsDoneOnce) {
    for (const int n_threads : {1, 2, 7}) {
        ThreadTeam team(n_threads);
        for (const std::int64_t n_items : {0, 1, 5, 1000})
            for (const std::int64_t grain : {1, 3, 2000}) {
                std::vector<std::atomic<int>> done(static_cast<std::size_t>(n_items));
                team.parallel_for(n_items, grain, [&](std::int64_t first, std::int64_t last, int thread) {
                    EXPECT_LT(first, last);
                    EXPECT_LE(last - first, grain);
                    EXPECT_LT(thread, team.size());
                    for (std::int64_t i = first; i < last; ++i) ++done[static_cast<std::size_t>(i)];
                });
                for (const auto& count : done) EXPECT_EQ(count, 1);
            }
    }
}

TEST(ThreadTeam, ExceptionReachesTheCallerAndTheTeamGoesOn) {
    ThreadTeam team(3);
    EXPECT_THROW(team.parallel_for(100, 1,
                                   [](std::int64_t first, std::int64_t, int) {
                                       if (first == 42) throw std::runtime_error("42");
                                   }),
                 std::runtime_error);
    std::atomic<int> n{0};
    team.parallel_for(10, 1, [&](std::int64_t, std::int64_t, int) { ++n; });
    EXPECT_EQ(n, 10);
}

TEST(ThreadTeam, WritesOfTheTasksAreVisibleAfterwards) {
    ThreadTeam team(4);
    std::vector<int> values(1000);
    for (int round = 1; round <= 20; ++round) {
        team.parallel_for(1000, 10, [&](std::int64_t first, std::int64_t last, int) {
            for (std::int64_t i = first; i < last; ++i) ++values[static_cast<std::size_t>(i)];
        });
        for (const int v : values) ASSERT_EQ(v, round);
    }
}

}  // namespace
}  // namespace greenroom::cpu
