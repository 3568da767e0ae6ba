#include "cpu/cpu_quota.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace greenroom::cpu {
namespace {

int quota_of(const std::map<std::string, std::string>& files) {
    return cpu_quota([&files](const std::string& path) -> std::optional<std::string> {
        const auto file = files.find(path);
        return file == files.end() ? std::nullopt : std::optional(file->second);
    });
}

int quota_v2(const std::string& cpu_max) {
    return quota_of({{"/proc/self/cgroup", "0::/\n"}, {"/sys/fs/cgroup/cpu.max", cpu_max}});
}

TEST(CpuQuota, IsRoundedUpToWholeCpus) {
    EXPECT_EQ(quota_v2("200000 100000\n"), 2);
    EXPECT_EQ(quota_v2("200001 100000\n"), 3);
    EXPECT_EQ(quota_v2("1000 100000\n"), 1);
    EXPECT_EQ(quota_v2("75000 50000"), 2);
}

TEST(CpuQuota, WhatIsNoLimitOrMakesNoSenseIsZero) {
    for (const char* text :
         {"max 100000\n", "", "200000", "0 100000", "-1 100000", "5 0", "nan 5", "1e300 1"})
        EXPECT_EQ(quota_v2(text), 0) << text;
    EXPECT_EQ(quota_of({}), 0);
    EXPECT_EQ(quota_of({{"/proc/self/cgroup", "neither\n\n:\n1:cpu\n"}}), 0);
}

TEST(CpuQuota, TheLeastOfAllGroupsAboveTheProcess) {
    const std::string own = "/sys/fs/cgroup/user.slice/job.scope/cpu.max";
    const std::string above = "/sys/fs/cgroup/user.slice/cpu.max";
    const std::string groups = "0::/user.slice/job.scope\n";
    EXPECT_EQ(quota_of({{"/proc/self/cgroup", groups}, {own, "400000 100000"}, {above, "300000 100000"}}), 3);
    EXPECT_EQ(quota_of({{"/proc/self/cgroup", groups}, {own, "200000 100000"}, {above, "max 100000"}}), 2);
    EXPECT_EQ(quota_of({{"/proc/self/cgroup", groups}, {above, "500000 100000"}}), 5);
}

TEST(CpuQuota, VersionOne) {
    const std::string folder = "/sys/fs/cgroup/cpu/docker/0123/";
    const auto quota = [&folder](const std::string& quota_us) {
        return quota_of({{"/proc/self/cgroup", "5:cpuset:/\n3:cpu,cpuacct:/docker/0123\n"},
                         {folder + "cpu.cfs_quota_us", quota_us},
                         {folder + "cpu.cfs_period_us", "100000\n"}});
    };
    EXPECT_EQ(quota("250000\n"), 3);
    EXPECT_EQ(quota("-1\n"), 0);
    // In a container the group that the host sees as /docker/0123 is the root.
    EXPECT_EQ(quota_of({{"/proc/self/cgroup", "3:cpu,cpuacct:/docker/0123\n"},
                        {"/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n"},
                        {"/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"}}),
              2);
}

}  // namespace
}  // namespace greenroom::cpu
