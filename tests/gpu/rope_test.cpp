// Rotary embedding on the GPU against the CPU's.

#include "gpu/kernels/rope.h"

#include "cpu/elementwise.h"
#include "gpu/step_state.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/device_cache.h"
#include "tests/gpu/lane_orders.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::random_floats;
using test::DeviceArray;

class RopeTest : public test::GpuTest {
  protected:
    std::vector<float> frequencies(int n) const {
        std::vector<float> f;
        for (int i = 0; i < n; ++i) f.push_back(std::pow(10000.0F, -2.0F * static_cast<float>(i) / 64.0F));
        return f;
    }
    std::vector<float> cpu_angles(const std::vector<std::int32_t>& positions,
                                  const std::vector<float>& f) const {
        const auto n_cols = static_cast<std::int64_t>(2 * f.size());
        std::vector<float> angles(positions.size() * 2 * f.size());
        cpu::ThreadTeam team(1);
        cpu::rope_angles(team, {angles.data(), static_cast<std::int64_t>(positions.size()), n_cols, n_cols},
                         positions, f, 1.2F);
        return angles;
    }
};

TEST_P(RopeTest, AnglesAreThoseOfTheCpuAtAnyPosition) {
    Stream stream;
    const std::vector<std::int32_t> positions = {0, 1, 77, 4095, 131071, 1000003};
    const std::vector<float> f = frequencies(33);
    const DeviceArray<std::int32_t> device_positions(stream, positions);
    const DeviceArray<float> device_f(stream, f);
    const DeviceArray<float> out(stream, positions.size() * 66);
    rope_angles(stream, out.matrix(6, 66), {device_positions.data(), 6}, {device_f.data(), 33}, 1.2F);
    const auto expected = cpu_angles(positions, f);
    const auto actual = out.download();
    // 2 ulp of the toolkit's cosf and sinf, 1 of the host's, 1/2 of the product.
    for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(actual[i], expected[i], 4e-7) << i;
}

TEST_P(RopeTest, AnglesOfAStepAreThoseOfItsPositions) {
    Stream stream;
    const std::vector<float> f = frequencies(5);
    const DeviceArray<float> device_f(stream, f);
    const auto step = test::step_at(stream, 1234);
    const DeviceArray<float> out(stream, 30);
    rope_angles(stream, out.matrix(3, 10), step.data(), {device_f.data(), 5}, 1.2F);
    EXPECT_LE(test::relative_difference(out.download(), cpu_angles({1234, 1235, 1236}, f)), 4e-7);
}

TEST_P(RopeTest, RotatesBothPairingsFromAndToStridesAndInPlace) {
    Stream stream;
    cpu::ThreadTeam team(1);
    constexpr std::int64_t kTokens = 3;
    constexpr int kHeads = 5;
    constexpr std::int64_t kPairs = 7;
    constexpr std::int64_t kHeadDim = 24;    // 10 values of each head are not rotated
    constexpr std::int64_t kOutStride = 20;  // heads elsewhere
    const auto angles = cpu_angles({3, 4, 5}, frequencies(kPairs));
    const auto x = random_floats(kTokens * kHeads * kHeadDim, 5);
    const DeviceArray<float> device_angles(stream, angles);
    for (const RopePairing pairing : {RopePairing::neighbours, RopePairing::halves}) {
        const ConstMatrixView host_angles{angles.data(), kTokens, 2 * kPairs, 2 * kPairs};
        const ConstMatrixView host_x{x.data(), kTokens, kHeads * kHeadDim, kHeads * kHeadDim};
        std::vector<float> expected(kTokens * kHeads * kOutStride, 9.0F);
        cpu::rope(team, {expected.data(), kTokens, kHeads * kOutStride, kHeads * kOutStride}, kOutStride,
                  host_x, kHeadDim, kHeads, host_angles, pairing);
        const DeviceArray<float> device_x(stream, x);
        const DeviceArray<float> out(stream, std::vector<float>(expected.size(), 9.0F));
        const ConstMatrixView on_device = device_angles.matrix(kTokens, 2 * kPairs);
        rope(stream, out.matrix(kTokens, kHeads * kOutStride), kOutStride,
             device_x.matrix(kTokens, kHeads * kHeadDim), kHeadDim, kHeads, on_device, pairing);
        // Two products and a sum, which the GPU may fuse.
        EXPECT_LE(test::relative_difference(out.download(), expected), 2e-7);

        auto in_place = x;
        const MatrixView host{in_place.data(), kTokens, kHeads * kHeadDim, kHeads * kHeadDim};
        cpu::rope(team, host, kHeadDim, host, kHeadDim, kHeads, host_angles, pairing);
        const MatrixView here = device_x.matrix(kTokens, kHeads * kHeadDim);
        rope(stream, here, kHeadDim, here, kHeadDim, kHeads, on_device, pairing);
        EXPECT_LE(test::relative_difference(device_x.download(), in_place), 2e-7);
    }
}

GR_RUN_IN_LANE_ORDERS(RopeTest);

}  // namespace
}  // namespace greenroom::gpu
