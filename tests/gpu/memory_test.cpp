// Budgets, buffers and pinned memory, on a GPU or the emulated one.

#include "gpu/memory.h"

#include "gpu/stream.h"
#include "quant/base/error.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::expect_error;

TEST(Memory, BudgetCountsWhatBuffersHold) {
    DeviceBudget budget(10000);
    {
        const DeviceBuffer a(budget, 1000, "a");
        EXPECT_EQ(budget.used_bytes(), 1024) << "in whole 256 bytes";
        DeviceBuffer b(budget, 5000, "b");
        EXPECT_EQ(budget.used_bytes(), 1024 + 5120);
        const DeviceBuffer c = std::move(b);
        EXPECT_EQ(budget.used_bytes(), 1024 + 5120);
        EXPECT_EQ(c.bytes(), 5000);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(c.data()) % 256, 0U);
        b = DeviceBuffer(budget, 256, "another b");
        EXPECT_EQ(budget.free_bytes(), 10000 - 1024 - 5120 - 256);
    }
    EXPECT_EQ(budget.used_bytes(), 0);
}

TEST(Memory, BudgetIsNeverExceeded) {
    DeviceBudget budget(10000);
    const DeviceBuffer first(budget, 6000, "weights");
    expect_error(ErrorKind::out_of_memory, {"kv cache", "4352", "10000", "6144"},
                 [&] { const DeviceBuffer second(budget, 4097, "kv cache"); });
    EXPECT_EQ(budget.used_bytes(), 6144);
    const DeviceBuffer fits(budget, 3840, "kv cache");
}

TEST(Memory, BudgetMayBeUsedByManyThreads) {
    DeviceBudget budget(std::int64_t{1} << 20);
    {
        std::vector<std::jthread> threads;
        for (int t = 0; t < 4; ++t)
            threads.emplace_back([&] {
                for (int i = 0; i < 50; ++i) const DeviceBuffer buffer(budget, 4096, "part");
            });
    }
    EXPECT_EQ(budget.used_bytes(), 0);
}

TEST(Memory, EmptyBuffersAreFine) {
    DeviceBudget budget(0);
    const DeviceBuffer nothing;
    const DeviceBuffer empty(budget, 0, "nothing");
    const PinnedBuffer no_bytes(0, "nothing");
    EXPECT_EQ(nothing.data(), nullptr);
    EXPECT_EQ(empty.data(), nullptr);
    EXPECT_EQ(no_bytes.data(), nullptr);
}

// More than any device has, by a budget that allows it.
TEST(Memory, ADeviceThatIsFullSaysSoAndLeavesNothingBehind) {
    DeviceBudget budget(std::int64_t{1} << 60);
    expect_error(ErrorKind::out_of_memory,
                 {"weights", "reserving 1125899906842624 bytes of GPU memory", "are free"},
                 [&] { const DeviceBuffer huge(budget, std::int64_t{1} << 50, "weights"); });
    EXPECT_EQ(budget.used_bytes(), 0);
    const DeviceBuffer small(budget, 1000, "weights");
    Stream stream;
    stream.synchronize();
    EXPECT_GT(free_device_bytes(), 0);
}

TEST(Memory, PinnedMemoryGoesThereAndBack) {
    DeviceBudget budget(4096);
    Stream stream;
    PinnedBuffer from(4000, "from");
    const PinnedBuffer to(4000, "to");
    EXPECT_TRUE(from.pinned());
    const DeviceBuffer device(budget, 4000, "device");
    for (int i = 0; i < 1000; ++i) from.as<int>()[i] = i;
    copy_to_device(stream, device.data(), from.data(), 4000);
    copy_to_host(stream, to.data(), device.data(), 4000);
    stream.synchronize();
    EXPECT_TRUE(std::equal(from.data(), from.data() + 4000, to.data()));
    const PinnedBuffer moved = std::move(from);
    EXPECT_EQ(moved.as<int>()[999], 999);
}

struct FreePages {
    void operator()(void* memory) const { std::free(memory); }
};
using Pages = std::unique_ptr<std::byte, FreePages>;

Pages allocate_pages(std::size_t bytes) {
    return Pages(static_cast<std::byte*>(std::aligned_alloc(4096, bytes)));
}

TEST(Memory, SomebodyElsesMemoryCanBePinned) {
    constexpr std::int64_t bytes = 64 * 4096;
    const Pages pages = allocate_pages(bytes);
    const PinnedRegion region(pages.get(), bytes, 4096);
    EXPECT_EQ(region.pinned_bytes(), bytes);
    EXPECT_TRUE(region.is_pinned(pages.get(), bytes));
    EXPECT_TRUE(region.is_pinned(pages.get() + 100, bytes - 100));
    EXPECT_FALSE(region.is_pinned(pages.get() + 100, bytes));
    EXPECT_EQ(region.refusal(), "");
    EXPECT_FALSE(PinnedRegion().is_pinned(pages.get(), 1));
    DeviceBudget budget(bytes);
    const DeviceBuffer device(budget, bytes, "device");
    Stream stream;
    for (std::int64_t i = 0; i < bytes; ++i) pages.get()[i] = static_cast<std::byte>(i % 251);
    copy_to_device(stream, device.data(), pages.get(), bytes);
    std::vector<std::byte> back(bytes);
    copy_to_host(stream, back.data(), device.data(), bytes);
    stream.synchronize();
    EXPECT_TRUE(std::equal(back.begin(), back.end(), pages.get()));
}

}  // namespace
}  // namespace greenroom::gpu
