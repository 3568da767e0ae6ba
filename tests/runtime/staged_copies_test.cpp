// Memory that is not pinned on its way to the GPU, on the emulated device: the bytes arrive, whatever is
// slow; nobody waits; what fails leaves nothing behind.

#include "runtime/staged_copies.h"

#include "gpu/memory.h"
#include "tests/gpu/emulation/control.h"
#include "tests/support/allocation_counter.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

class StagedCopiesTest : public testing::Test {
  protected:
    ~StagedCopiesTest() override { emulation::reset(); }

    static std::vector<std::byte> pattern(std::int64_t n_bytes, int seed) {
        std::vector<std::byte> bytes(static_cast<std::size_t>(n_bytes));
        for (std::size_t i = 0; i < bytes.size(); ++i)
            bytes[i] = static_cast<std::byte>(i * 31 + (i >> 8) * 7 + static_cast<std::size_t>(seed) * 101);
        return bytes;
    }

    std::vector<std::byte> download(const std::byte* from, std::int64_t n_bytes) {
        std::vector<std::byte> bytes(static_cast<std::size_t>(n_bytes));
        gpu::copy_to_host(stream_, bytes.data(), from, n_bytes);
        stream_.synchronize();
        return bytes;
    }

    gpu::DeviceBudget budget_{256 * kMiB};
    gpu::Stream stream_;
};

// Some kilobytes each, from memory that nothing else uses, one after the other in the GPU's memory.
struct Copies {
    static constexpr std::int64_t kBytes = 5000;
    static constexpr std::int64_t kStride = 5120;

    explicit Copies(gpu::DeviceBudget& budget, int n) : memory(budget, n * kStride, "copies") {}

    UploadPart part(const std::vector<std::byte>& from, int i) const {
        return {from.data(), memory.data() + i * kStride, kBytes};
    }

    gpu::DeviceBuffer memory;
};

TEST_F(StagedCopiesTest, EachPartArrivesWholeWhateverItsSize) {
    constexpr std::int64_t kLargest = 20 * kMiB + 999;
    StagedCopies staged(kLargest, 4, "test");
    EXPECT_LE(emulation::pinned_bytes_in_use(), StagedCopies::bytes_needed(kLargest));
    const gpu::DeviceBuffer to(budget_, kLargest, "test");
    // With and without space between them, shorter and longer than a piece, on both sides of a piece's end.
    const std::vector<std::vector<std::int64_t>> cases = {
        {1},
        {1000, 1000, 1000},
        {8 * kMiB, 1},
        {8 * kMiB - 100, 300, 12 * kMiB},
        {20 * kMiB, 500},
        {3 * kMiB + 1, 9 * kMiB + 77, 7 * kMiB + 3, 100},
    };
    for (const std::int64_t gap : {0, 100})
        for (const auto& sizes : cases) {
            std::vector<std::vector<std::byte>> memory;
            std::vector<UploadPart> parts;
            std::int64_t at = 17;
            for (const std::int64_t n_bytes : sizes) {
                memory.push_back(pattern(n_bytes, static_cast<int>(memory.size())));
                parts.push_back({memory.back().data(), to.data() + at, n_bytes});
                at += n_bytes + gap;
            }
            ASSERT_LE(at, kLargest);
            staged.enqueue(stream_, parts);
            for (std::size_t i = 0; i < parts.size(); ++i)
                EXPECT_TRUE(download(parts[i].to, parts[i].bytes) == memory[i])
                    << "part " << i << " of " << sizes.size() << ", gap " << gap;
        }
}

// Many more copies than pieces, each of which takes long.
TEST_F(StagedCopiesTest, APieceIsFilledAgainOnlyWhenItHasBeenCopied) {
    constexpr int kCopies = 40;
    StagedCopies staged(Copies::kBytes, kCopies, "test");
    const Copies copies(budget_, kCopies);
    std::vector<std::vector<std::byte>> memory;
    for (int i = 0; i < kCopies; ++i) memory.push_back(pattern(Copies::kBytes, i));
    gpu::Stream other;
    emulation::set_copy_delay_us(1000);
    for (int i = 0; i < kCopies; ++i) {
        const UploadPart part = copies.part(memory[static_cast<std::size_t>(i)], i);
        staged.enqueue(i % 3 == 0 ? other : stream_, {&part, 1});
    }
    other.synchronize();
    stream_.synchronize();
    emulation::set_copy_delay_us(0);
    for (int i = 0; i < kCopies; ++i)
        EXPECT_TRUE(download(copies.part(memory[0], i).to, Copies::kBytes) ==
                    memory[static_cast<std::size_t>(i)])
            << i;
}

TEST_F(StagedCopiesTest, TheCallerWaitsForNoCopy) {
    constexpr int kCopies = 12;
    StagedCopies staged(Copies::kBytes, kCopies, "test");
    const Copies copies(budget_, kCopies);
    const std::vector<std::byte> memory = pattern(Copies::kBytes, 1);
    constexpr std::chrono::milliseconds kOne{30};
    emulation::set_copy_delay_us(std::chrono::microseconds(kOne).count());
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kCopies; ++i) {
        const UploadPart part = copies.part(memory, i);
        staged.enqueue(stream_, {&part, 1});
    }
    EXPECT_FALSE(stream_.idle());
    stream_.synchronize();
    EXPECT_GE(std::chrono::steady_clock::now() - begin, kOne * kCopies);
}

TEST_F(StagedCopiesTest, MoreThanWereToBeUnderWayWaitForTheFirst) {
    StagedCopies staged(Copies::kBytes, 2, "test");
    constexpr int kCopies = 15;
    const Copies copies(budget_, kCopies);
    std::vector<std::vector<std::byte>> memory;
    for (int i = 0; i < kCopies; ++i) memory.push_back(pattern(Copies::kBytes, i));
    emulation::set_copy_delay_us(300);
    for (int i = 0; i < kCopies; ++i) {
        const UploadPart part = copies.part(memory[static_cast<std::size_t>(i)], i);
        staged.enqueue(stream_, {&part, 1});
    }
    for (int i = 0; i < kCopies; ++i)
        EXPECT_TRUE(download(copies.part(memory[0], i).to, Copies::kBytes) ==
                    memory[static_cast<std::size_t>(i)])
            << i;
}

TEST_F(StagedCopiesTest, ACallThatFailsLeavesNothingUnderWayAndTheNextCopyIsWhole) {
    constexpr int kInvalidValue = 1;
    constexpr std::int64_t kBytes = 20 * kMiB;  // three pieces
    StagedCopies staged(kBytes, 2, "test");
    const gpu::DeviceBuffer to(budget_, kBytes, "test");
    const std::vector<std::byte> first = pattern(kBytes, 1);
    const std::vector<std::byte> second = pattern(kBytes, 2);
    for (const char* call : {"cudaLaunchHostFunc", "cudaEventRecord", "cudaStreamWaitEvent",
                             "cudaMemcpyAsync", "cudaEventSynchronize"})
        for (const int n_before : {0, 1, 2}) {
            SCOPED_TRACE(call);
            emulation::set_copy_delay_us(2000);
            emulation::fail_call(call, kInvalidValue, n_before);
            const UploadPart failing{first.data(), to.data(), kBytes};
            test::expect_error(ErrorKind::device, {"cudaErrorInvalidValue"}, [&] {
                staged.enqueue(stream_, {&failing, 1});
            });
            EXPECT_TRUE(stream_.idle());
            const UploadPart part{second.data(), to.data(), kBytes};
            staged.enqueue(stream_, {&part, 1});
            EXPECT_TRUE(download(to.data(), kBytes) == second);
            emulation::set_copy_delay_us(0);
        }
}

TEST_F(StagedCopiesTest, ARingThatCannotBePinnedIsAnError) {
    emulation::set_pinned_limit_bytes(StagedCopies::bytes_needed(1 * kMiB) - 1000);
    test::expect_error(ErrorKind::out_of_memory, {"experts on their way", "pinning"},
                       [] { StagedCopies(1 * kMiB, 1, "experts on their way"); });
    EXPECT_EQ(emulation::pinned_bytes_in_use(), 0);
}

// The emulation allocates for each call, so those that a copy consists of are counted beside.
TEST_F(StagedCopiesTest, NothingIsAllocatedForACopy) {
    constexpr int kCopies = 300;
    constexpr int kTolerance = 30;  // containers of the emulation grow now and then
    StagedCopies staged(Copies::kBytes, kCopies, "test");
    const Copies copies(budget_, kCopies);
    const std::vector<std::byte> memory = pattern(Copies::kBytes, 1);
    const gpu::PinnedBuffer pinned(Copies::kBytes, "test");
    gpu::Stream filling;
    gpu::Event filled;
    gpu::Event copied;
    const auto allocations = [&](const auto& copy) {
        const std::int64_t before = test::allocation_count();
        for (int i = 0; i < kCopies; ++i) copy(i);
        filling.synchronize();
        stream_.synchronize();
        return test::allocation_count() - before;
    };
    const std::int64_t of_calls = allocations([&](int i) {
        filling.wait(copied);
        gpu::call_on_host(
            filling, [](void*) {}, nullptr);
        filling.record(filled);
        stream_.wait(filled);
        gpu::copy_to_device(stream_, copies.part(memory, i).to, pinned.data(), Copies::kBytes);
        stream_.record(copied);
    });
    const std::int64_t of_copies = allocations([&](int i) {
        const UploadPart part = copies.part(memory, i);
        staged.enqueue(stream_, {&part, 1});
    });
    EXPECT_GT(of_calls, kCopies);
    EXPECT_LE(of_copies, of_calls + kTolerance);
}

}  // namespace
}  // namespace greenroom::runtime
