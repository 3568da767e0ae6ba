// Does the emulation notice what is wrong with a kernel, and run one that is right quickly?

#include "tests/gpu/emulation/lanes.h"

#include "quant/half.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/emulation/control.h"
#include "tests/gpu/emulation/example_kernels.h"
#include "tests/gpu/emulation/shared_variables.h"
#include "tests/support/errors.h"
#include "tests/support/paths.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <numeric>
#include <string>

namespace greenroom::gpu {
namespace {

using emulation::LaneOrder;
using greenroom::test::expect_error;
using test::DeviceArray;

constexpr LaneOrder kOrders[] = {LaneOrder::forward, LaneOrder::backward, LaneOrder::shuffled};

class Lanes : public testing::Test {
  protected:
    Lanes() { emulation::reset(); }
    ~Lanes() override {
        try {
            stream_.synchronize();
        } catch (const Error&) {  // of a test that loses the device
        }
        emulation::reset();
    }

    // In how many of the three orders is the result what it should be?
    template <class Kernel>
    int n_right(const std::vector<float>& in, const std::vector<float>& expected, const Kernel& kernel) {
        int n = 0;
        for (const LaneOrder order : kOrders) {
            emulation::set_lane_order(order);
            const DeviceArray<float> from(stream_, in);
            const DeviceArray<float> to(stream_, expected.size());
            kernel(to.data(), from.data());
            n += to.download() == expected ? 1 : 0;
        }
        return n;
    }

    Stream stream_;
};

std::vector<float> counting(std::size_t n) {
    std::vector<float> values(n);
    std::iota(values.begin(), values.end(), 1.0F);
    return values;
}

TEST_F(Lanes, AMissingBarrierIsNoticedInSomeOrder) {
    const auto in = counting(256);
    const std::vector<float> expected(in.rbegin(), in.rend());
    const auto reverse = [&](Barrier barrier) {
        return n_right(in, expected,
                       [&](float* to, const float* from) { reverse_block(stream_, to, from, barrier); });
    };
    EXPECT_EQ(reverse(Barrier::kept), 3);
    EXPECT_LT(reverse(Barrier::deleted), 3);
}

TEST_F(Lanes, AMissingBarrierOfAWarpIsNoticedInSomeOrder) {
    const auto in = counting(32);
    auto expected = in;
    std::rotate(expected.begin(), expected.begin() + 1, expected.end());
    const auto rotate = [&](Barrier barrier) {
        return n_right(in, expected,
                       [&](float* to, const float* from) { rotate_warp(stream_, to, from, barrier); });
    };
    EXPECT_EQ(rotate(Barrier::kept), 3);
    EXPECT_LT(rotate(Barrier::deleted), 3);
}

TEST_F(Lanes, AnAsynchronousCopyThatNobodyWaitsForDoesNotArrive) {
    const auto in = counting(128);
    const auto stage = [&](Barrier barrier) {
        return n_right(in, in, [&](float* to, const float* from) { stage_rows(stream_, to, from, barrier); });
    };
    EXPECT_EQ(stage(Barrier::kept), 3);
    EXPECT_EQ(stage(Barrier::deleted), 0);
}

TEST_F(Lanes, SharedVariablesAreFoundAndBeginAsNaN) {
    EXPECT_GE(emulation::n_shared_variables(), 4);
    const auto in = counting(256);
    emulation::set_lane_order(LaneOrder::forward);
    const DeviceArray<float> from(stream_, in);
    const DeviceArray<float> to(stream_, std::vector<float>(in.size(), 0.0F));
    for (int i = 0; i < 2; ++i) {  // the second time too
        reverse_block(stream_, to.data(), from.data(), Barrier::deleted);
        EXPECT_TRUE(std::isnan(to.download().front()));
    }
}

// "example_kernels.cu:<line>" of the line that ends with this comment.
std::string place(const std::string& comment) {
    std::ifstream in(greenroom::test::source_folder() / "tests/gpu/emulation/example_kernels.cu");
    std::string line;
    for (int number = 1; std::getline(in, line); ++number)
        if (line.ends_with("// place: " + comment)) return "example_kernels.cu:" + std::to_string(number);
    ADD_FAILURE() << comment;
    return "";
}

TEST_F(Lanes, DivergenceIsReportedWithAllPlaces) {
    const DeviceArray<float> out(stream_, 64);
    const auto report = [&](Divergence kind, std::initializer_list<std::string_view> texts) {
        for (const LaneOrder order : kOrders) {
            emulation::set_lane_order(order);
            diverge(stream_, out.data(), kind);
            expect_error(ErrorKind::device, texts, [&] { stream_.synchronize(); });
            emulation::reset();
        }
    };
    report(Divergence::two_barriers,
           {"two_barriers_kernel", "block (0, 0, 0)", "lanes 0-31 wait in __syncthreads()",
            place("one barrier"), "lanes 32-63 wait in", place("the other barrier")});
    report(Divergence::early_return, {"lanes 0-31 wait in __syncthreads()", place("barrier after return"),
                                      "lanes 32-63 have returned"});
    report(Divergence::half_a_warp_shuffles, {"lanes 0-15 wait in __shfl_xor_sync()", place("half a warp")});
    report(Divergence::two_helpers, {"called at", place("one helper"), place("the other helper")});
}

TEST_F(Lanes, CollectivesOfPartOfAWarpAreRefused) {
    const DeviceArray<float> out(stream_, 64);
    shuffle_part(stream_, out.data(), 0xffffU);
    expect_error(ErrorKind::device, {"mask 0x0000ffff", "all 32"}, [&] { stream_.synchronize(); });
    emulation::reset();
    shuffle_in_block_of(stream_, out.data(), 40);
    expect_error(ErrorKind::device, {"a warp of 8 lanes"}, [&] { stream_.synchronize(); });
}

// Even a later use of something else says what happened, as on a device.
TEST_F(Lanes, AFaultLosesTheDevice) {
    const DeviceArray<float> out(stream_, 64);
    diverge(stream_, out.data(), Divergence::early_return);
    expect_error(ErrorKind::device, {"early_return_kernel"}, [&] { stream_.synchronize(); });
    expect_error(ErrorKind::device, {"early_return_kernel"}, [&] { const Event event; });
}

TEST_F(Lanes, PointersToTheHostsMemoryAreRefused) {
    std::vector<float> host(256);
    const DeviceArray<float> out(stream_, 256);
    reverse_block(stream_, out.data(), host.data(), Barrier::kept);
    expect_error(ErrorKind::device, {"reverse_kernel", "pointer 1", "neither in device memory nor pinned"},
                 [&] { stream_.synchronize(); });
}

TEST_F(Lanes, DynamicSharedMemoryEndsWhereTheLaunchSaid) {
#if defined(__SANITIZE_ADDRESS__)
    testing::FLAGS_gtest_death_test_style = "threadsafe";
    const DeviceArray<float> out(stream_, 32);
    EXPECT_DEATH(
        {
            read_out_of_bounds(stream_, out.data());
            stream_.synchronize();
        },
        "use-after-poison");
#else
    GTEST_SKIP() << "AddressSanitizer sees it";
#endif
}

TEST_F(Lanes, BlocksOfAGridMeetInAtomics) {
    const auto in = counting(1000);
    EXPECT_EQ(n_right(in, {500500.0F},
                      [&](float* to, const float* from) {
                          fill_bytes(stream_, to, 0, sizeof(float));
                          sum_by_atomics(stream_, to, from, 1000);
                      }),
              3);
}

TEST_F(Lanes, TileOfTensorCoresIsAMatrixProduct) {
    std::vector<std::uint16_t> a(256);
    std::vector<std::uint16_t> b(256);
    for (std::size_t i = 0; i < 256; ++i) {
        a[i] = quant::f32_to_f16(static_cast<float>(i % 17) - 8);
        b[i] = quant::f32_to_f16(static_cast<float>(i % 23) / 4);
    }
    const DeviceArray<std::uint16_t> device_a(stream_, a);
    const DeviceArray<std::uint16_t> device_b(stream_, b);
    const DeviceArray<float> c(stream_, 256);
    multiply_tile(stream_, c.data(), device_a.data(), device_b.data());
    const auto result = c.download();
    for (std::size_t r = 0; r < 16; ++r)
        for (std::size_t col = 0; col < 16; ++col) {
            float sum = 0;
            for (std::size_t k = 0; k < 16; ++k)
                sum += quant::f16_to_f32(a[r * 16 + k]) * quant::f16_to_f32(b[k * 16 + col]);
            EXPECT_EQ(result[r * 16 + col], sum);
        }
}

TEST_F(Lanes, AMatrixOf256RowsTakesMilliseconds) {
    constexpr int n_rows = 256;
    constexpr int n_cols = 2048;
    std::vector<std::int8_t> w(std::size_t{n_rows} * n_cols);
    std::vector<std::int8_t> x(n_cols);
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<std::int8_t>(i * 7 % 255 - 127);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<std::int8_t>(i * 5 % 255 - 127);
    const DeviceArray<std::int8_t> device_w(stream_, w);
    const DeviceArray<std::int8_t> device_x(stream_, x);
    const DeviceArray<float> scales(stream_, std::vector<float>(n_rows * n_cols / 32, 0.5F));
    const DeviceArray<float> y(stream_, n_rows);
    for (const LaneOrder order : kOrders) {
        emulation::set_lane_order(order);
        const std::clock_t begin = std::clock();
        dot_rows(stream_, y.data(), device_w.data(), scales.data(), device_x.data(), n_rows, n_cols);
        stream_.synchronize();
        const auto ms = 1000 * (std::clock() - begin) / CLOCKS_PER_SEC;  // of all threads, whatever else runs
        RecordProperty("ms_" + std::to_string(static_cast<int>(order)), std::to_string(ms));
        EXPECT_LT(ms, 2000) << "about 20; 50 under AddressSanitizer";
        const auto result = y.download();
        for (std::size_t r = 0; r < n_rows; ++r) {
            int sum = 0;
            for (std::size_t k = 0; k < n_cols; ++k) sum += w[r * n_cols + k] * x[k];
            EXPECT_NEAR(result[r], 0.5 * sum, 1e-5 * std::abs(0.5 * sum) + 1);
        }
    }
}

}  // namespace
}  // namespace greenroom::gpu
