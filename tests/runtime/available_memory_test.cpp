// Available memory, on systems made of files: machines, containers, groups within groups.

#include "runtime/available_memory.h"

#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

// /proc and /sys/fs/cgroup as a folder; 8000 MiB are available unless a group says less.
class AvailableMemory : public testing::Test {
  protected:
    AvailableMemory() {
        write("proc/meminfo", "MemTotal: 9216000 kB\nMemAvailable:    8192000 kB\nHugePages_Total: 0\n");
    }

    void write(const std::string& name, const std::string& text) const {
        std::filesystem::create_directories(std::filesystem::path(folder_.file(name)).parent_path());
        std::ofstream(folder_.file(name)) << text;
    }

    void write_v2(const std::string& group, const std::string& max, std::int64_t used_mib,
                  std::int64_t inactive_mib = 0, std::int64_t active_mib = 0) const {
        write("cgroup" + group + "/memory.max", max + "\n");
        write("cgroup" + group + "/memory.current", std::to_string(used_mib * kMiB) + "\n");
        write("cgroup" + group + "/memory.stat", "anon 5\ninactive_file " +
                                                     std::to_string(inactive_mib * kMiB) + "\nactive_file " +
                                                     std::to_string(active_mib * kMiB) + "\n");
    }

    void write_v1(const std::string& group, std::int64_t limit, std::int64_t used_mib,
                  std::int64_t inactive_mib = 0) const {
        write("cgroup/memory" + group + "/memory.limit_in_bytes", std::to_string(limit) + "\n");
        write("cgroup/memory" + group + "/memory.usage_in_bytes", std::to_string(used_mib * kMiB) + "\n");
        write("cgroup/memory" + group + "/memory.stat",
              "inactive_file 1\ntotal_inactive_file " + std::to_string(inactive_mib * kMiB) + "\n");
    }

    void be_in(const std::string& lines) const { write("proc/self/cgroup", lines); }

    std::int64_t mib() const {
        return available_memory_bytes(folder_.file("proc"), folder_.file("cgroup")) / kMiB;
    }

    static std::string bytes(std::int64_t mib) { return std::to_string(mib * kMiB); }

    const test::TempDir folder_;
};

TEST_F(AvailableMemory, WithoutGroupsItIsWhatTheKernelSays) { EXPECT_EQ(mib(), 8000); }

TEST_F(AvailableMemory, ASystemThatSaysNothingHasNoLimit) {
    EXPECT_EQ(available_memory_bytes(folder_.file("none"), folder_.file("none")),
              std::numeric_limits<std::int64_t>::max());
}

TEST_F(AvailableMemory, TheOwnGroupLimits) {
    be_in("0::/user.slice/model.service\n");
    write_v2("/user.slice/model.service", bytes(1000), 300);
    EXPECT_EQ(mib(), 700);
    write_v2("/user.slice/model.service", "max", 300);
    EXPECT_EQ(mib(), 8000);
}

TEST_F(AvailableMemory, EveryGroupAboveLimitsToo) {
    be_in("0::/a/b/c\n");
    write_v2("/a/b/c", bytes(3000), 100);
    write_v2("/a/b", "max", 1000);
    write_v2("/a", bytes(4000), 2500);
    EXPECT_EQ(mib(), 1500);
    write_v2("", bytes(4000), 3999);
    EXPECT_EQ(mib(), 1);
    write_v2("/a/other", bytes(1), 1);
    EXPECT_EQ(mib(), 1) << "not a group above";
}

TEST_F(AvailableMemory, ThrottlingCountsAsALimit) {
    be_in("0::/a\n");
    write_v2("/a", bytes(3000), 100);
    write("cgroup/a/memory.high", bytes(2000) + "\n");
    EXPECT_EQ(mib(), 1900);
}

TEST_F(AvailableMemory, FileCacheCanBeDropped) {
    be_in("0::/a\n");
    write_v2("/a", bytes(1000), 900, 300, 200);
    EXPECT_EQ(mib(), 600);
    write_v2("/a", bytes(1000), 900, 3000);
    EXPECT_EQ(mib(), 1000) << "figures of different moments";
}

TEST_F(AvailableMemory, AGroupAboveItsLimitLeavesNothing) {
    be_in("0::/a\n");
    write_v2("/a", bytes(1000), 1200);
    EXPECT_EQ(mib(), 0);
}

TEST_F(AvailableMemory, InAContainerTheRootOfTheMountIsTheGroup) {
    be_in("0::/docker/0123abcd\n");
    write_v2("", bytes(2000), 500);
    EXPECT_EQ(mib(), 1500);
    be_in("0::/../../elsewhere\n");
    write_v2("/../../elsewhere", bytes(10), 0);
    EXPECT_EQ(mib(), 1500);
}

TEST_F(AvailableMemory, VersionOneIsUnderstood) {
    be_in("5:cpu,memory:/x:y/z\n4:cpuset:/q\n0::/elsewhere\n");
    write_v1("", 9223372036854771712, 7000);
    EXPECT_EQ(mib(), 8000);
    write_v1("/x:y", 2000 * kMiB, 1000, 100);
    EXPECT_EQ(mib(), 1100);
    write_v1("/x:y/z", 500 * kMiB, 100);
    EXPECT_EQ(mib(), 400);
    write_v1("/q", 1, 0);
    EXPECT_EQ(mib(), 400);
}

TEST_F(AvailableMemory, BrokenFilesLimitNothing) {
    be_in("\n0\n0:\nmemory\n0::/a\n");
    write("cgroup/a/memory.max", "a lot");
    write("proc/meminfo", "MemAvailable:\nMemAvailable: many kB\n");
    EXPECT_EQ(available_memory_bytes(folder_.file("proc"), folder_.file("cgroup")),
              std::numeric_limits<std::int64_t>::max());
}

TEST_F(AvailableMemory, TheMachineSaysWhatItHas) { EXPECT_GT(available_memory_bytes(), kMiB); }

}  // namespace
}  // namespace greenroom::runtime
