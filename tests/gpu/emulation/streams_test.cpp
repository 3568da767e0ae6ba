// What only an emulated device can be made to do: be slow, fail, run out of memory; and what it refuses.

#include "gpu/device.h"
#include "gpu/memory.h"
#include "gpu/stream.h"
#include "quant/base/log.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/emulation/control.h"
#include "tests/gpu/emulation/example_kernels.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <cuda_runtime_api.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::expect_error;
using test::DeviceArray;

// Log lines of the test under way.
std::vector<std::string>& log_lines() {
    static std::vector<std::string> lines;
    return lines;
}

class EmulatedStreams : public testing::Test {
  protected:
    EmulatedStreams() {
        emulation::reset();
        log_lines().clear();
        set_log_sink([](LogLevel, std::string_view line) { log_lines().emplace_back(line); });
    }
    ~EmulatedStreams() override {
        set_log_sink(nullptr);
        EXPECT_EQ(emulation::device_bytes_in_use(), 0);
        EXPECT_EQ(emulation::pinned_bytes_in_use(), 0);
        emulation::reset();
    }
};

TEST_F(EmulatedStreams, AKernelWaitsForAFlagThatTheHostSetsLater) {
    Stream stream;
    const PinnedBuffer flag(4, "flag");
    *flag.as<std::uint32_t>() = 0;
    const DeviceArray<std::uint32_t> out(stream, 32);
    wait_and_store(stream, out.data(), flag.as<std::uint32_t>(), 7);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_FALSE(stream.idle());
    std::atomic_ref<std::uint32_t>(*flag.as<std::uint32_t>()).store(7, std::memory_order_release);
    EXPECT_EQ(out.download(), std::vector<std::uint32_t>(32, 7));
}

TEST_F(EmulatedStreams, CopiesRunBesideTheHostAndInOrder) {
    Stream stream;
    const PinnedBuffer host(1024, "host");
    const DeviceArray<char> to(stream, 1024);
    std::fill_n(host.as<char>(), 1024, 'a');
    emulation::set_copy_delay_us(30000);
    Event copied;
    const auto begin = std::chrono::steady_clock::now();
    copy_to_device(stream, to.data(), host.data(), 1024);
    stream.record(copied);
    EXPECT_FALSE(copied.done());
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(25)) << "did not wait";
    copied.wait();
    EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(30));
    EXPECT_EQ(to.download(), std::vector<char>(1024, 'a'));
}

// Changing the source before the copy has come by shows, as it may on a device.
TEST_F(EmulatedStreams, PinnedMemoryIsReadWhenTheCopyRuns) {
    Stream stream;
    const PinnedBuffer host(1024, "host");
    const DeviceArray<char> to(stream, 1024);
    std::fill_n(host.as<char>(), 1024, 'a');
    const PinnedBuffer flag(4, "flag");
    *flag.as<std::uint32_t>() = 0;
    const DeviceArray<std::uint32_t> out(stream, 32);
    wait_and_store(stream, out.data(), flag.as<std::uint32_t>(), 1);
    copy_to_device(stream, to.data(), host.data(), 1024);
    std::fill_n(host.as<char>(), 1024, 'b');
    std::atomic_ref<std::uint32_t>(*flag.as<std::uint32_t>()).store(1, std::memory_order_release);
    EXPECT_EQ(to.download(), std::vector<char>(1024, 'b'));
}

TEST_F(EmulatedStreams, WaitsAcrossStreamsHoldUnderDelay) {
    Stream first;
    Stream second;
    const PinnedBuffer host(64, "host");
    std::fill_n(host.as<char>(), 64, 'a');
    const DeviceArray<char> x(first, 64);
    const DeviceArray<char> y(first, 64);
    emulation::set_copy_delay_us(10000);
    Event copied;
    copy_to_device(first, x.data(), host.data(), 64);
    first.record(copied);
    second.wait(copied);
    copy_on_device(second, y.data(), x.data(), 64);
    second.synchronize();
    emulation::set_copy_delay_us(0);
    EXPECT_EQ(y.download(), std::vector<char>(64, 'a'));
}

TEST_F(EmulatedStreams, AFullDeviceIsReportedWithWhatIsFree) {
    emulation::set_vram_bytes(100000);
    DeviceBudget budget(1 << 30);
    const DeviceBuffer first(budget, 60000, "first");
    EXPECT_EQ(free_device_bytes(), 100000 - 60160);
    expect_error(ErrorKind::out_of_memory, {"second", "50000 bytes", "39840 of 100000 are free"},
                 [&] { const DeviceBuffer second(budget, 50000, "second"); });
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
    const DeviceBuffer fits(budget, 39000, "fits");
}

TEST_F(EmulatedStreams, WhatCanNotBePinnedIsOrdinaryMemoryAndSaidSo) {
    emulation::set_pinned_limit_bytes(1000);
    expect_error(ErrorKind::out_of_memory, {"flags", "pinning 2000 bytes"},
                 [] { const PinnedBuffer buffer(2000, "flags"); });
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
    EXPECT_TRUE(log_lines().empty());
    PinnedBuffer buffer(2000, "staging", Pinning::preferred);
    EXPECT_FALSE(buffer.pinned());
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
    ASSERT_EQ(log_lines().size(), 1U);
    EXPECT_NE(log_lines()[0].find("staging: can't pin 2000 bytes"), std::string::npos);
    Stream stream;
    const DeviceArray<char> device(stream, 2000);
    std::fill_n(buffer.as<char>(), 2000, 'x');
    copy_to_device(stream, device.data(), buffer.data(), 2000);
    EXPECT_EQ(device.download(), std::vector<char>(2000, 'x'));
}

TEST_F(EmulatedStreams, APinnedRegionEndsWhereTheSystemSaysNo) {
    constexpr std::int64_t kGranule = 3 * 4096;
    constexpr std::int64_t kGranules = 128;  // four to a piece
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    const std::unique_ptr<std::byte, Free> pages(
        static_cast<std::byte*>(std::aligned_alloc(4096, kGranules * kGranule)));
    emulation::set_pinned_limit_bytes(10 * kGranule);
    {
        const PinnedRegion region(pages.get(), kGranules * kGranule, kGranule);
        EXPECT_EQ(region.pinned_bytes(), 8 * kGranule);
        EXPECT_TRUE(region.is_pinned(pages.get() + 7 * kGranule, kGranule));
        EXPECT_FALSE(region.is_pinned(pages.get() + 8 * kGranule, kGranule));
        EXPECT_EQ(emulation::pinned_bytes_in_use(), 8 * kGranule);
        EXPECT_NE(region.refusal().find("cudaErrorMemoryAllocation"), std::string::npos) << region.refusal();
    }
    EXPECT_EQ(emulation::pinned_bytes_in_use(), 0);
    EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
}

TEST_F(EmulatedStreams, EveryCallThatFailsIsAnErrorAndTheNextOneGoesThrough) {
    Stream stream;
    Event event;
    DeviceBudget budget(1 << 20);
    const DeviceArray<float> x(stream, 256);
    const PinnedBuffer host(1024, "host");
    const struct {
        const char* call;
        std::function<void()> action;
    } cases[] = {
        {"cudaStreamCreateWithPriority", [] { const Stream another; }},
        {"cudaEventCreateWithFlags", [] { const Event another; }},
        {"cudaStreamSynchronize", [&] { stream.synchronize(); }},
        {"cudaStreamQuery", [&] { stream.idle(); }},
        {"cudaEventRecord", [&] { stream.record(event); }},
        {"cudaStreamWaitEvent", [&] { stream.wait(event); }},
        {"cudaEventQuery", [&] { event.done(); }},
        {"cudaEventSynchronize", [&] { event.wait(); }},
        {"cudaMemcpyAsync", [&] { copy_to_device(stream, x.data(), host.data(), 1024); }},
        {"cudaMemsetAsync", [&] { fill_bytes(stream, x.data(), 0, 1024); }},
        {"cudaLaunchHostFunc",
         [&] {
             call_on_host(
                 stream, [](void*) {}, nullptr);
         }},
        {"cudaMalloc", [&] { const DeviceBuffer buffer(budget, 1000, "buffer"); }},
        {"cudaHostAlloc", [&] { const PinnedBuffer buffer(1000, "buffer"); }},
        {"cudaMemGetInfo", [] { free_device_bytes(); }},
        {"cudaLaunchKernel", [&] { reverse_block(stream, x.data(), x.data(), Barrier::kept); }},
        {"cudaStreamBeginCapture", [&] { const Capture capture(stream); }},
        {"cudaStreamEndCapture", [&] { Capture(stream).finish(); }},
        {"cudaGraphInstantiate", [&] { Capture(stream).finish(); }},
        {"cudaGraphLaunch", [&] { Capture(stream).finish().launch(stream); }},
    };
    for (const auto& c : cases) {
        SCOPED_TRACE(c.call);
        emulation::fail_call(c.call, cudaErrorInvalidValue);
        expect_error(ErrorKind::device, {"cudaErrorInvalidValue"}, c.action);
        EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess) << "left behind";
        EXPECT_EQ(budget.used_bytes(), 0);
        EXPECT_NO_THROW(c.action());
    }
}

TEST_F(EmulatedStreams, AFailedLaunchNamesTheKernelAndItsSizes) {
    Stream stream;
    const DeviceArray<float> x(stream, 256);
    emulation::fail_call("cudaLaunchKernel", cudaErrorInvalidConfiguration);
    expect_error(ErrorKind::device, {"launching reverse, 1 x 1 x 1 blocks of 256 x 1 x 1 threads, 0 bytes"},
                 [&] { reverse_block(stream, x.data(), x.data(), Barrier::kept); });
}

TEST_F(EmulatedStreams, FailuresCanWaitForTheirTurn) {
    Stream stream;
    const DeviceArray<float> x(stream, 256);
    emulation::fail_call("cudaMemsetAsync", cudaErrorInvalidValue, 2);
    fill_bytes(stream, x.data(), 0, 4);
    fill_bytes(stream, x.data(), 0, 4);
    expect_error(ErrorKind::device, {"filling 4 bytes"}, [&] { fill_bytes(stream, x.data(), 0, 4); });
    fill_bytes(stream, x.data(), 0, 4);
}

TEST_F(EmulatedStreams, CopiesOutOfBoundsAreRefused) {
    Stream stream;
    const DeviceArray<char> x(stream, 1000);
    std::vector<char> host(2000);
    for (const auto& copy :
         std::vector<std::function<void()>>{[&] { copy_to_device(stream, x.data(), host.data(), 1001); },
                                            [&] { copy_to_host(stream, host.data(), x.data() + 1, 1000); },
                                            [&] { copy_on_device(stream, x.data(), host.data(), 1000); },
                                            [&] { copy_to_host(stream, x.data(), x.data(), 10); }})
        expect_error(ErrorKind::device, {"copying", "cudaErrorInvalidValue"}, copy);
}

TEST_F(EmulatedStreams, ANewAllocationIsNotZero) {
    Stream stream;
    DeviceBudget budget(4096);
    const DeviceBuffer buffer(budget, 16, "fresh");
    std::vector<unsigned char> bytes(16);
    copy_to_host(stream, bytes.data(), buffer.data(), 16);
    stream.synchronize();
    EXPECT_EQ(bytes, std::vector<unsigned char>(16, 0xff));
}

TEST_F(EmulatedStreams, CountsWhatHasRun) {
    Stream stream;
    const PinnedBuffer host(1024, "host");
    const DeviceArray<float> x(stream, 256);
    const emulation::Counts before = emulation::counts();
    copy_to_device(stream, x.data(), host.data(), 1024);
    reverse_block(stream, x.data(), x.data(), Barrier::kept);
    stream.synchronize();
    EXPECT_EQ(emulation::counts().copies - before.copies, 1);
    EXPECT_EQ(emulation::counts().copied_bytes - before.copied_bytes, 1024);
    EXPECT_EQ(emulation::counts().kernels - before.kernels, 1);
}

TEST_F(EmulatedStreams, WithoutMemoryThereIsNoDevice) {
    emulation::set_vram_bytes(0);
    EXPECT_TRUE(list_devices().empty());
    EXPECT_EQ(gpu_status(), "an NVIDIA driver, but no device");
    expect_error(ErrorKind::device, {"cudaErrorNoDevice", "greenroom inspect"}, [] { const Stream stream; });
}

}  // namespace
}  // namespace greenroom::gpu
