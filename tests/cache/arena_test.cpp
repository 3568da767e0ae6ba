#include "cache/arena.h"

#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace greenroom::cache {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

// Of the arena, what is in memory now.
std::int64_t committed_bytes(const Arena& arena) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    std::vector<unsigned char> pages((arena.memory().size() + page - 1) / page);
    if (::mincore(arena.data(), arena.memory().size(), pages.data()) != 0) return -1;
    return std::count_if(pages.begin(), pages.end(), [](unsigned char p) { return (p & 1) != 0; }) *
           static_cast<std::int64_t>(page);
}

ArenaOptions normal_pages() {
    ArenaOptions options;
    options.pages = ArenaPages::normal;
    return options;
}

TEST(Arena, IsZeroedAlignedAndWritable) {
    for (const ArenaPages pages : {ArenaPages::automatic, ArenaPages::transparent, ArenaPages::normal}) {
        ArenaOptions options;
        options.pages = pages;
        for (const std::int64_t bytes : {std::int64_t{1}, 4096 * kMiB / 1024 + 1, 6 * kMiB}) {
            const Arena arena(bytes, options);
            EXPECT_EQ(arena.bytes(), bytes);
            EXPECT_EQ(arena.memory().size(), static_cast<std::size_t>(bytes));
            EXPECT_EQ(reinterpret_cast<std::uintptr_t>(arena.data()) % (2 * kMiB), 0U);
            EXPECT_TRUE(std::all_of(arena.memory().begin(), arena.memory().end(),
                                    [](std::byte b) { return b == std::byte{0}; }));
            std::fill(arena.memory().begin(), arena.memory().end(), std::byte{1});
            EXPECT_NE(arena.describe().find("pages"), std::string::npos);
        }
    }
}

TEST(Arena, CommitsWhatIsWrittenTo) {
    const Arena arena(64 * kMiB, normal_pages());
    EXPECT_EQ(committed_bytes(arena), 0);
    arena.data()[10 * kMiB] = std::byte{1};
    EXPECT_GT(committed_bytes(arena), 0);
    EXPECT_LT(committed_bytes(arena), kMiB);
}

TEST(Arena, CommitsAllOfItAtOnceWhenAskedTo) {
    ArenaOptions options = normal_pages();
    options.commit = ArenaCommit::at_once;
    const Arena arena(16 * kMiB, options);
    EXPECT_EQ(committed_bytes(arena), 16 * kMiB);
}

TEST(Arena, TooLargeIsAClearNo) {
    for (const std::int64_t bytes : {std::int64_t{1} << 60, INT64_MAX})
        test::expect_error(ErrorKind::out_of_memory, {"expert slots: cannot get", "Give the cache less"},
                           [&] { Arena arena(bytes); });
}

TEST(Arena, CanBeTiedToANumaNodeThatExists) {
    ArenaOptions options = normal_pages();
    options.numa_node = 0;
    const Arena arena(4 * kMiB, options);
    arena.data()[0] = std::byte{1};
    EXPECT_NE(arena.describe().find("NUMA node"), std::string::npos) << arena.describe();
    for (const int node : {4711, -3}) {
        options.numa_node = node;
        test::expect_error(ErrorKind::bad_input, {"NUMA node", "this machine has"},
                           [&] { Arena another(kMiB, options); });
    }
}

// Machines that hwloc makes up; what the system is asked for then is nothing.
TEST(Arena, IsDealtOutToAllNumaNodesWhereThereAreSeveral) {
    const auto description = [](const char* machine, int numa_node) {
        ::setenv("HWLOC_SYNTHETIC", machine, 1);
        ArenaOptions options = normal_pages();
        options.numa_node = numa_node;
        std::string text = Arena(kMiB, options).describe();
        ::unsetenv("HWLOC_SYNTHETIC");
        return text;
    };
    const std::string two_nodes = description("node:2 core:4 pu:2", ArenaOptions::kInterleave);
    EXPECT_NE(two_nodes.find(", interleaved over 2 NUMA nodes"), std::string::npos) << two_nodes;
    const std::string one_node = description("core:4 pu:2", ArenaOptions::kInterleave);
    EXPECT_EQ(one_node.find("NUMA"), std::string::npos) << one_node;
    const std::string second = description("node:2 core:4 pu:2", 1);
    EXPECT_NE(second.find(", on NUMA node 1"), std::string::npos) << second;
    const std::string local = description("node:2 core:4 pu:2", ArenaOptions::kLocal);
    EXPECT_EQ(local.find("NUMA"), std::string::npos) << local;
}

// How many pages of the arena lie on each NUMA node.
std::map<int, int> pages_by_node(const Arena& arena) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    std::vector<void*> pages;
    for (std::size_t at = 0; at < arena.memory().size(); at += page) pages.push_back(arena.data() + at);
    std::vector<int> nodes(pages.size());
    std::map<int, int> counts;
    if (::syscall(SYS_move_pages, 0, pages.size(), pages.data(), nullptr, nodes.data(), 0) == 0)
        for (const int node : nodes) ++counts[node];
    return counts;
}

TEST(Arena, LiesOnTheNodesOfARealMachineAsAsked) {
    if (!std::filesystem::exists("/sys/devices/system/node/node1")) GTEST_SKIP() << "one NUMA node";
    for (const ArenaPages pages : {ArenaPages::normal, ArenaPages::transparent}) {
        const Arena interleaved(32 * kMiB, {.pages = pages, .commit = ArenaCommit::at_once});
        const std::map<int, int> counts = pages_by_node(interleaved);
        ASSERT_GE(counts.size(), 2U) << interleaved.describe();
        for (const auto& [node, n] : counts)
            EXPECT_NEAR(n, 8192 / static_cast<int>(counts.size()), 512) << "node " << node;
        const Arena tied(32 * kMiB, {.pages = pages, .commit = ArenaCommit::at_once, .numa_node = 1});
        EXPECT_EQ(pages_by_node(tied), (std::map<int, int>{{1, 8192}})) << tied.describe();
    }
}

}  // namespace
}  // namespace greenroom::cache
