#include "cpu/topology.h"

#include <gtest/gtest.h>

#include <thread>

namespace greenroom::cpu {
namespace {

TEST(Topology, CoresAreWithinTheThreadsOfTheMachine) {
    const Topology topology = read_topology();
    EXPECT_GE(topology.n_cores, 1);
    EXPECT_LE(topology.n_cores, topology.n_threads);
    EXPECT_LE(topology.n_threads, static_cast<int>(std::thread::hardware_concurrency()) + topology.n_cores);
    EXPECT_GE(default_thread_count(), 1);
    EXPECT_LE(default_thread_count(), topology.n_cores);
}

}  // namespace
}  // namespace greenroom::cpu
