#include "gpu/device.h"
#include "tests/gpu/lane_orders.h"

#include <gtest/gtest.h>

namespace greenroom::gpu::test {
namespace {

// Before any fixture makes a stream, which would fail.
class SkipWithoutGpu : public testing::Environment {
  public:
    void SetUp() override {
        // The words by which ctest tells a skipped test from one that passed; GoogleTest says them for tests
        // only.
        if (list_devices().empty()) GTEST_SKIP() << "[  SKIPPED ] no GPU: " << gpu_status();
    }
};

// Owned by GoogleTest.
[[maybe_unused]] testing::Environment* const skip_without_gpu =
    testing::AddGlobalTestEnvironment(new SkipWithoutGpu);

}  // namespace

std::vector<std::string> lane_orders() { return {"device"}; }

void use_lane_order(const std::string& /*order*/) {}

}  // namespace greenroom::gpu::test
