// Machines that are not here come from hwloc: HWLOC_SYNTHETIC describes one, HWLOC_XMLFILE names the file of
// one.

#include "cpu/topology.h"

#include <gtest/gtest.h>
#include <hwloc.h>
#include <sched.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

namespace greenroom::cpu {
namespace {

class Topologies : public testing::Test {
  protected:
    void TearDown() override {
        ::unsetenv("HWLOC_SYNTHETIC");
        ::unsetenv("HWLOC_XMLFILE");
    }

    static Topology read_synthetic(const char* description) {
        ::setenv("HWLOC_SYNTHETIC", description, 1);
        return read_topology();
    }
};

TEST_F(Topologies, CoresAreWithinTheThreadsOfTheMachine) {
    const Topology topology = read_topology();
    EXPECT_GE(topology.n_cores, 1);
    EXPECT_LE(topology.n_cores, topology.n_threads);
    EXPECT_LE(topology.n_threads, static_cast<int>(std::thread::hardware_concurrency()) + topology.n_cores);
    EXPECT_GE(default_thread_count(), 1);
    EXPECT_LE(default_thread_count(), topology.n_cores);
}

TEST_F(Topologies, OneHardwareThreadOfEachCoreAndNoSiblings) {
    const Topology topology = read_synthetic("node:2 core:4 pu:2");
    EXPECT_EQ(topology.n_cores, 8);
    EXPECT_EQ(topology.n_threads, 16);
    EXPECT_EQ(topology.core_cpus, (std::vector<int>{0, 2, 4, 6, 8, 10, 12, 14}));
    // As many Intel machines count: the second hardware threads after all first ones.
    EXPECT_EQ(read_synthetic("core:4 pu:2(indexes=0,4,1,5,2,6,3,7)").core_cpus,
              (std::vector<int>{0, 1, 2, 3}));
}

TEST_F(Topologies, DefaultIsOneThreadPerCoreWithinTheQuota) {
    Topology topology = read_synthetic("node:2 core:4 pu:2");
    topology.cpu_quota = 0;
    EXPECT_EQ(default_thread_count(topology), 8);
    topology.cpu_quota = 3;
    EXPECT_EQ(default_thread_count(topology), 3);
    topology.cpu_quota = 100;
    EXPECT_EQ(default_thread_count(topology), 8);
}

TEST_F(Topologies, FastCoresComeFirst) {
    // Two fast cores behind four slow ones.
    const std::string path = testing::TempDir() + "greenroom_hybrid_topology.xml";
    hwloc_topology_t topology = nullptr;
    ASSERT_EQ(hwloc_topology_init(&topology), 0);
    ASSERT_EQ(hwloc_topology_set_synthetic(topology, "core:6 pu:1"), 0);
    ASSERT_EQ(hwloc_topology_load(topology), 0);
    hwloc_bitmap_t cpus = hwloc_bitmap_alloc();
    hwloc_bitmap_set_range(cpus, 0, 3);
    EXPECT_EQ(hwloc_cpukinds_register(topology, cpus, 0, 0, nullptr, 0), 0);
    hwloc_bitmap_zero(cpus);
    hwloc_bitmap_set_range(cpus, 4, 5);
    EXPECT_EQ(hwloc_cpukinds_register(topology, cpus, 1, 0, nullptr, 0), 0);
    ASSERT_EQ(hwloc_topology_export_xml(topology, path.c_str(), 0), 0);
    hwloc_bitmap_free(cpus);
    hwloc_topology_destroy(topology);

    ::setenv("HWLOC_XMLFILE", path.c_str(), 1);
    const Topology read = read_topology();
    std::filesystem::remove(path);
    EXPECT_EQ(read.core_cpus, (std::vector<int>{4, 5, 0, 1, 2, 3}));
    EXPECT_EQ(read.n_cores, 6);
}

TEST_F(Topologies, AThreadStaysOnItsCpu) {
    const std::vector<int> cpus = read_topology().core_cpus;
    if (cpus.empty()) GTEST_SKIP() << "hwloc knows no cores here";
    std::atomic<bool> placed{false};
    int cpu = -1;
    std::thread thread([&] {
        placed.wait(false);
        cpu = ::sched_getcpu();
    });
    const bool allowed = keep_on_cpu(thread, cpus.back());
    EXPECT_FALSE(keep_on_cpu(thread, 100'000));
    EXPECT_FALSE(keep_on_cpu(thread, -1));
    placed = true;
    placed.notify_one();
    thread.join();
    if (!allowed) GTEST_SKIP() << "threads may not be placed here";
    EXPECT_EQ(cpu, cpus.back());
}

}  // namespace
}  // namespace greenroom::cpu
