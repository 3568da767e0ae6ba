#include "gpu/device.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace greenroom::gpu {
namespace {

TEST(Device, StatusAgreesWithTheList) {
    const std::size_t n_devices = list_devices().size();
    const std::string status = gpu_status();
    if (n_devices == 0)
        EXPECT_FALSE(status.empty());
    else
        EXPECT_EQ(status, std::to_string(n_devices) + (n_devices == 1 ? " device" : " devices"));
}

// A refused first call must not leave an error behind that the second one reports.
TEST(Device, AnswersTheSameEveryTime) {
    const std::string status = gpu_status();
    const std::size_t n_devices = list_devices().size();
    for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(gpu_status(), status);
        EXPECT_EQ(list_devices().size(), n_devices);
    }
}

TEST(Device, AnyThreadMayAsk) {
    const std::string status = gpu_status();
    std::vector<std::string> answers(4);
    {
        std::vector<std::jthread> threads;
        for (std::string& answer : answers) threads.emplace_back([&answer] { answer = gpu_status(); });
    }
    EXPECT_EQ(answers, std::vector<std::string>(4, status));
}

TEST(Device, DescribesEachDevice) {
    const std::vector<DeviceInfo> devices = list_devices();
    if (devices.empty()) GTEST_SKIP() << "no GPU: " << gpu_status();
    for (const DeviceInfo& device : devices) {
        SCOPED_TRACE(device.name);
        EXPECT_FALSE(device.name.empty());
        EXPECT_GT(device.total_bytes, 0U);
        EXPECT_LE(device.free_bytes, device.total_bytes);
        EXPECT_GE(device.compute_major, 5);
    }
}

}  // namespace
}  // namespace greenroom::gpu
