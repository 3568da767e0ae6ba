#include "cpu/parallel.h"

#include "cpu/topology.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>
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

TEST(ThreadTeam, AThreadBeginsWithItsOwnShare) {
    constexpr std::int64_t kItemsPerShare = 10;
    ThreadTeam team(3);
    std::atomic<int> n_met{0};
    std::vector<int> first_thread(3, -1);
    team.parallel_for(3 * kItemsPerShare, 1, [&](std::int64_t item, std::int64_t, int thread) {
        if (item % kItemsPerShare != 0) return;
        first_thread[static_cast<std::size_t>(item / kItemsPerShare)] = thread;
        ++n_met;  // nobody goes on before all have begun
        while (n_met < 3) std::this_thread::yield();
    });
    EXPECT_EQ(first_thread, (std::vector<int>{0, 1, 2}));
}

TEST(ShareOut, AShareGoesOutInPiecesThatFollowEachOtherAndGetSmaller) {
    for (const int n_threads : {1, 2, 3})
        for (const std::int64_t n_items : {0, 1, 5, 96, 1000}) {
            ThreadTeam team(n_threads);
            std::mutex mutex;
            std::map<std::int64_t, std::int64_t> pieces;  // their ends, by where they begin
            share_out(team, n_items, 4, [&](std::int64_t first, std::int64_t last, int) {
                const std::scoped_lock lock(mutex);
                EXPECT_TRUE(pieces.emplace(first, last).second);
            });
            std::int64_t end = 0;
            std::int64_t size = n_items;  // of the piece before
            int n_larger = 0;
            for (const auto& [first, last] : pieces) {
                EXPECT_EQ(first, end);
                EXPECT_LT(first, last);
                n_larger += last - first > size + 1;
                size = last - first;
                end = last;
            }
            EXPECT_EQ(end, n_items);
            EXPECT_LT(n_larger, n_threads) << "only where the next share begins";
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

TEST(ThreadTeam, OnlyActiveThreadsTakePart) {
    ThreadTeam team(5);
    EXPECT_EQ(team.n_active(), 5);
    for (int round = 0; round < 200; ++round) {
        const int n_active = 1 + round * 7 % 5;
        team.set_active(n_active);
        for (const std::int64_t n_items : {1, 40}) {
            std::vector<std::atomic<int>> done(static_cast<std::size_t>(n_items));
            team.parallel_for(n_items, 1, [&](std::int64_t first, std::int64_t, int thread) {
                EXPECT_LT(thread, n_active);
                ++done[static_cast<std::size_t>(first)];
            });
            for (const auto& count : done) EXPECT_EQ(count, 1);
        }
    }
}

TEST(ThreadTeam, ThreadsThatSleptTakePartAgain) {
    ThreadTeam team(3);
    team.set_active(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    team.set_active(3);
    // Ends when three threads have met.
    std::atomic<int> n_met{0};
    team.parallel_for(3, 1, [&](std::int64_t, std::int64_t, int) {
        ++n_met;
        while (n_met < 3) std::this_thread::yield();
    });
    EXPECT_EQ(n_met, 3);
}

TEST(ThreadTeam, PlacesItsThreadsButNotTheCaller) {
    cpu_set_t before;
    ASSERT_EQ(::sched_getaffinity(0, sizeof before, &before), 0);
    const std::vector<int> cores = read_topology().core_cpus;
    ThreadTeam team(static_cast<int>(cores.size()), Placement::own_core);
    cpu_set_t after;
    ASSERT_EQ(::sched_getaffinity(0, sizeof after, &after), 0);
    EXPECT_NE(CPU_EQUAL(&before, &after), 0);
    if (cores.size() < 2 || team.n_placed() < team.size() - 1)
        GTEST_SKIP() << "one core, or threads may not be placed here";
    team.parallel_for(team.size() * 100, 1, [&](std::int64_t, std::int64_t, int thread) {
        if (thread > 0) {
            EXPECT_EQ(::sched_getcpu(), cores.at(static_cast<std::size_t>(thread)));
        }
    });
}

TEST(ThreadTeam, LargerThanTheCoresIsNotPlaced) {
    const ThreadTeam team(static_cast<int>(read_topology().core_cpus.size()) + 1, Placement::own_core);
    EXPECT_EQ(team.n_placed(), 0);
}

}  // namespace
}  // namespace greenroom::cpu
