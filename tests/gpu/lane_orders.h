#pragma once

// How often a kernel's test runs: in the emulation once for each order of lanes, on a GPU once, and not at
// all where there is none.
//
// A test of kernels is a TEST_P on GpuTest, and its file ends with GR_RUN_IN_LANE_ORDERS(name of the suite).

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace greenroom::gpu::test {

// "forward", "backward" and "shuffled", or "device".
std::vector<std::string> lane_orders();
void use_lane_order(const std::string& order);

class GpuTest : public testing::TestWithParam<std::string> {
  protected:
    void SetUp() override { use_lane_order(GetParam()); }
};

#define GR_RUN_IN_LANE_ORDERS(suite)                                                                 \
    INSTANTIATE_TEST_SUITE_P(Lanes, suite, testing::ValuesIn(::greenroom::gpu::test::lane_orders()), \
                             [](const testing::TestParamInfo<std::string>& order) { return order.param; })

}  // namespace greenroom::gpu::test
