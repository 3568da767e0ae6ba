#include "gpu/kernels/quantize.h"

#include "gpu/stream.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/lane_orders.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace greenroom::gpu {
namespace {

class Quantize : public test::GpuTest {
  protected:
    std::vector<ActivationBlock> quantize(const std::vector<float>& x, std::int64_t n_rows,
                                          std::int64_t n_heads, std::int64_t n_values,
                                          std::int64_t head_stride) {
        const test::DeviceArray<float> device_x(stream_, x);
        const std::int64_t stride = n_values / ActivationBlock::kValues;
        const test::DeviceArray<ActivationBlock> blocks(stream_,
                                                        static_cast<std::size_t>(n_rows * n_heads * stride));
        const auto n_cols = static_cast<std::int64_t>(x.size()) / n_rows;
        quantize_rows(stream_, {blocks.data(), stride}, device_x.matrix(n_rows, n_cols), n_heads, n_values,
                      head_stride);
        return blocks.download();
    }

    Stream stream_;
};

// Of 32 values: the scale is the largest by 32639, each is within half a step, and the sums are the
// integers'.
void check_block(const ActivationBlock& block, const float* x) {
    float largest = 0;
    for (int i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[i]));
    EXPECT_FLOAT_EQ(block.scale, largest / 32639.0F);
    double sums[2] = {0, 0};
    for (int i = 0; i < 32; ++i) {
        const int q = 256 * block.high[i] + block.low[i];
        EXPECT_LE(std::abs(q), ActivationBlock::kLargest);
        EXPECT_NEAR(x[i], double{block.scale} * q, 0.5001 * double{block.scale}) << "value " << i;
        sums[i / 16] += double{block.scale} * q;
    }
    for (int h = 0; h < 2; ++h)
        EXPECT_NEAR(block.half_sums[h], sums[h], 1e-6 * (std::fabs(sums[h]) + largest));
    EXPECT_NEAR(block.sum, sums[0] + sums[1], 1e-6 * (std::fabs(sums[0] + sums[1]) + largest));
}

TEST_P(Quantize, ValuesAreWithinHalfAStep) {
    const std::vector<float> x = greenroom::test::random_floats(3 * 160, 1);
    const std::vector<ActivationBlock> blocks = quantize(x, 3, 1, 160, 0);
    for (std::size_t i = 0; i < blocks.size(); ++i) check_block(blocks[i], x.data() + 32 * i);
}

TEST_P(Quantize, HeadsBecomeRows) {
    const std::vector<float> x = greenroom::test::random_floats(2 * 3 * 70, 2);
    const std::vector<ActivationBlock> blocks = quantize(x, 2, 3, 64, 70);
    for (std::size_t row = 0; row < 6; ++row)
        for (std::size_t i = 0; i < 2; ++i) check_block(blocks[2 * row + i], x.data() + 70 * row + 32 * i);
}

TEST_P(Quantize, WhatIsNoNumberAndWhatIsAsGoodAsZero) {
    std::vector<float> x(4 * 32, 0.0F);
    x[5] = std::numeric_limits<float>::quiet_NaN();
    x[32] = -std::numeric_limits<float>::infinity();
    x[64] = 1e-35F;
    const std::vector<ActivationBlock> blocks = quantize(x, 1, 1, 128, 0);
    EXPECT_TRUE(std::isnan(blocks[0].scale));
    EXPECT_TRUE(std::isnan(blocks[1].scale) && std::isnan(blocks[1].sum));
    for (const std::size_t i : {2U, 3U}) {
        EXPECT_EQ(blocks[i].scale, 0.0F);
        EXPECT_EQ(blocks[i].high[0], 0);
        EXPECT_EQ(blocks[i].sum, 0.0F);
    }
}

TEST_P(Quantize, LargestNumbersDoNotOverflow) {
    const std::vector<float> x(32, -std::numeric_limits<float>::max() / 64);  // their sum is a float, too
    check_block(quantize(x, 1, 1, 32, 0)[0], x.data());
}

GR_RUN_IN_LANE_ORDERS(Quantize);

}  // namespace
}  // namespace greenroom::gpu
