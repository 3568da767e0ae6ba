// Order of copies and kernels, events and graphs, on a GPU or the emulated one.

#include "gpu/stream.h"

#include "gpu/kernels/elementwise.h"
#include "gpu/memory.h"
#include "tests/gpu/device_array.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <numeric>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::expect_error;
using test::DeviceArray;

// x ← 2 · x, n times.
void double_values(Stream& stream, const DeviceArray<float>& x, int n) {
    for (int i = 0; i < n; ++i) scale(stream, x.matrix(1, static_cast<std::int64_t>(x.size())), 2.0F);
}

TEST(Streams, WorkIsDoneInItsOrder) {
    Stream stream;
    const DeviceArray<float> a(stream, std::vector<float>(1000, 1.0F));
    const DeviceArray<float> b(stream, 1000);
    double_values(stream, a, 10);
    copy_on_device(stream, b.data(), a.data(), 4000);
    fill_bytes(stream, a.data(), 0, 2000);
    EXPECT_EQ(b.download(), std::vector<float>(1000, 1024.0F));
    std::vector<float> expected(1000, 1024.0F);
    std::fill_n(expected.begin(), 500, 0.0F);
    EXPECT_EQ(a.download(), expected);
    EXPECT_TRUE(stream.idle());
}

TEST(Streams, AStreamWaitsForAnEventOfAnother) {
    Stream first;
    Stream second(Stream::Priority::high);
    const DeviceArray<float> x(first, 100000);
    Event filled;
    Event doubled;
    for (int round = 0; round < 5; ++round) {
        fill_bytes(first, x.data(), 0, 400000);
        add_bias(first, x.matrix(1, 100000), x.data());
        first.record(filled);
        second.wait(filled);
        fill_bytes(second, x.data(), 0x40, 400000);  // each value becomes 3.0039…
        double_values(second, x, 1);
        second.record(doubled);
        first.wait(doubled);
        double_values(first, x, 1);
        for (const float v : x.download()) ASSERT_NEAR(v, 4 * 3.0039215F, 1e-5);
    }
}

TEST(Streams, EventsSayWhenTheyAreReached) {
    Stream stream;
    const Event never;
    EXPECT_TRUE(never.done());
    Event begin(Event::Timing::on);
    Event end(Event::Timing::on);
    const DeviceArray<float> x(stream, 1000);
    stream.record(begin);
    double_values(stream, x, 3);
    stream.record(end);
    end.wait();
    EXPECT_TRUE(begin.done());
    EXPECT_TRUE(end.done());
    EXPECT_GE(milliseconds_between(begin, end), 0.0F);
}

TEST(Streams, TheHostIsCalledBetweenWhatComesBeforeAndAfter) {
    Stream stream;
    const DeviceArray<float> x(stream, std::vector<float>(100, 1.0F));
    const PinnedBuffer host(400, "host");
    double_values(stream, x, 10);
    copy_to_host(stream, host.data(), x.data(), 400);
    call_on_host(
        stream,
        [](void* values) {
            for (int i = 0; i < 100; ++i) static_cast<float*>(values)[i] += static_cast<float>(i);
        },
        host.data());
    copy_to_device(stream, x.data(), host.data(), 400);
    std::vector<float> expected(100);
    std::iota(expected.begin(), expected.end(), 1024.0F);
    EXPECT_EQ(x.download(), expected);
}

TEST(Streams, AGraphRepeatsWhatWasCaptured) {
    Stream stream;
    const DeviceArray<float> x(stream, std::vector<float>(100, 1.0F));
    const PinnedBuffer input(400, "input");
    std::fill_n(input.as<float>(), 100, 1.0F);
    Capture capture(stream);
    copy_to_device(stream, x.data(), input.data(), 400);
    double_values(stream, x, 4);
    const Graph graph = capture.finish();
    EXPECT_EQ(x.download(), std::vector<float>(100, 1.0F)) << "nothing has run so far";
    for (int round = 1; round <= 3; ++round) {
        // Memory is read when the graph runs.
        std::fill_n(input.as<float>(), 100, static_cast<float>(round));
        graph.launch(stream);
        EXPECT_EQ(x.download(), std::vector<float>(100, 16.0F * static_cast<float>(round)));
    }
}

TEST(Streams, AGraphMayForkAndJoin) {
    Stream stream;
    Stream side;
    const DeviceArray<float> x(stream, std::vector<float>(100, 1.0F));
    const DeviceArray<float> y(stream, std::vector<float>(100, 1.0F));
    Event forked;
    Event joined;
    Capture capture(stream);
    double_values(stream, x, 1);
    stream.record(forked);
    side.wait(forked);
    add(side, y.matrix(1, 100), x.matrix(1, 100));
    side.record(joined);
    stream.wait(joined);
    add(stream, x.matrix(1, 100), y.matrix(1, 100));
    const Graph graph = capture.finish();
    graph.launch(stream);
    EXPECT_EQ(x.download(), std::vector<float>(100, 5.0F));
    double_values(side, y, 1);  // the side stream works as before
    side.synchronize();
    EXPECT_EQ(y.download(), std::vector<float>(100, 6.0F));
}

TEST(Streams, ADroppedCaptureLeavesTheStreamAsItWas) {
    Stream stream;
    const DeviceArray<float> x(stream, std::vector<float>(100, 1.0F));
    {
        const Capture capture(stream);
        double_values(stream, x, 4);
    }
    EXPECT_EQ(x.download(), std::vector<float>(100, 1.0F));
    double_values(stream, x, 1);
    EXPECT_EQ(x.download(), std::vector<float>(100, 2.0F));
}

TEST(Streams, WaitingDuringACaptureIsAnErrorThatEndsThere) {
    Stream stream;
    const DeviceArray<float> x(stream, std::vector<float>(100, 1.0F));
    {
        Capture capture(stream);
        double_values(stream, x, 1);
        expect_error(ErrorKind::device, {"waiting for a stream's work"}, [&] { stream.synchronize(); });
        expect_error(ErrorKind::device, {"capturing a graph"}, [&] { capture.finish(); });
    }
    double_values(stream, x, 1);
    EXPECT_EQ(x.download(), std::vector<float>(100, 2.0F));
}

TEST(Streams, NothingToCopyIsNoCopy) {
    Stream stream;
    copy_to_device(stream, nullptr, nullptr, 0);
    fill_bytes(stream, nullptr, 0, 0);
    EXPECT_FALSE(Graph());
    expect_error(ErrorKind::internal, {}, [&] { Graph().launch(stream); });
}

}  // namespace
}  // namespace greenroom::gpu
