// Captures that CUDA would refuse, and work that fails inside of a graph.

#include "gpu/memory.h"
#include "gpu/stream.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/emulation/control.h"
#include "tests/gpu/emulation/example_kernels.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::expect_error;
using test::DeviceArray;

class EmulatedGraphs : public testing::Test {
  protected:
    EmulatedGraphs() { emulation::reset(); }
    ~EmulatedGraphs() override { emulation::reset(); }
};

TEST_F(EmulatedGraphs, AForkThatIsNotJoinedIsRefused) {
    Stream stream;
    Stream side;
    const DeviceArray<float> x(stream, 256);
    Event forked;
    Capture capture(stream);
    stream.record(forked);
    side.wait(forked);
    fill_bytes(side, x.data(), 0, 4);
    expect_error(ErrorKind::device, {"cudaErrorStreamCaptureUnjoined"}, [&] { capture.finish(); });
    fill_bytes(side, x.data(), 0, 4);
    side.synchronize();
}

TEST_F(EmulatedGraphs, WorkAfterTheJoinIsUnjoinedToo) {
    Stream stream;
    Stream side;
    const DeviceArray<float> x(stream, 256);
    Event forked;
    Event joined;
    Capture capture(stream);
    stream.record(forked);
    side.wait(forked);
    fill_bytes(side, x.data(), 0, 4);
    side.record(joined);
    stream.wait(joined);
    fill_bytes(side, x.data(), 0, 4);
    expect_error(ErrorKind::device, {"cudaErrorStreamCaptureUnjoined"}, [&] { capture.finish(); });
}

TEST_F(EmulatedGraphs, EventsFromOutsideCanNotBeWaitedForInACapture) {
    Stream stream;
    Stream other;
    Event event;
    other.record(event);
    Capture capture(stream);
    expect_error(ErrorKind::device, {"cudaErrorStreamCaptureIsolation"}, [&] { stream.wait(event); });
    expect_error(ErrorKind::device, {"cudaErrorStreamCaptureInvalidated"}, [&] { capture.finish(); });
}

TEST_F(EmulatedGraphs, NothingIsAllocatedDuringACapture) {
    Stream stream;
    DeviceBudget budget(4096);
    Capture capture(stream);
    expect_error(ErrorKind::device, {"cudaErrorStreamCaptureUnsupported"},
                 [&] { const DeviceBuffer buffer(budget, 100, "late"); });
    EXPECT_EQ(budget.used_bytes(), 0);
}

TEST_F(EmulatedGraphs, AGraphWaitsForFlagsToo) {
    Stream stream;
    const PinnedBuffer flag(4, "flag");
    const std::atomic_ref<std::uint32_t> value(*flag.as<std::uint32_t>());
    value.store(0);
    const DeviceArray<std::uint32_t> out(stream, 32);
    Capture capture(stream);
    wait_and_store(stream, out.data(), flag.as<std::uint32_t>(), 5);
    const Graph graph = capture.finish();
    graph.launch(stream);
    EXPECT_FALSE(stream.idle());
    value.store(5);
    EXPECT_EQ(out.download(), std::vector<std::uint32_t>(32, 5));
    EXPECT_EQ(emulation::counts().graph_launches, 1);
}

TEST_F(EmulatedGraphs, AGraphMayBeDestroyedWhileItIsQueued) {
    Stream stream;
    const DeviceArray<float> x(stream, std::vector<float>(256, 2.0F));
    emulation::set_kernel_delay_us(5000);
    {
        Capture capture(stream);
        reverse_block(stream, x.data(), x.data(), Barrier::kept);
        const Graph graph = capture.finish();
        graph.launch(stream);
    }
    EXPECT_EQ(x.download(), std::vector<float>(256, 2.0F));
}

TEST_F(EmulatedGraphs, AFaultInAGraphLosesTheDevice) {
    Stream stream;
    const DeviceArray<float> x(stream, 64);
    Capture capture(stream);
    diverge(stream, x.data(), Divergence::early_return);
    fill_bytes(stream, x.data(), 0, 4);
    const Graph graph = capture.finish();
    graph.launch(stream);
    expect_error(ErrorKind::device, {"early_return_kernel"}, [&] { stream.synchronize(); });
}

}  // namespace
}  // namespace greenroom::gpu
