#include "gpu/device.h"

#include "quant/base/error.h"

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

TEST(Device, AnIndexThatIsNotThereIsAnErrorThatEndsThere) {
    const std::string status = gpu_status();
    EXPECT_THROW(use_device(1000), Error);
    EXPECT_EQ(gpu_status(), status);
    if (!list_devices().empty()) use_device(0);
}

TEST(Device, SupportsTuringAndLater) {
    const auto supported = [](int major, int minor) {
        DeviceInfo device;
        device.compute_major = major;
        device.compute_minor = minor;
        return device.supported();
    };
    EXPECT_FALSE(supported(6, 1));
    EXPECT_FALSE(supported(7, 0));
    EXPECT_TRUE(supported(7, 5));
    EXPECT_TRUE(supported(8, 0));
    EXPECT_TRUE(supported(12, 0));
}

}  // namespace
}  // namespace greenroom::gpu
