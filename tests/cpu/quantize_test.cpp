// Activations as integers: the promises of cpu/quantize.h, on every ISA of this CPU.

#include "cpu/quantize.h"

#include "cpu/kernels.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

namespace greenroom::cpu {
namespace {

std::vector<ActivationBlock> quantized(Isa isa, const std::vector<float>& x) {
    const auto n = static_cast<std::int64_t>(x.size());
    std::vector<ActivationBlock> blocks(static_cast<std::size_t>(activation_blocks(n)));
    std::memset(blocks.data(), 0x55, blocks.size() * sizeof(ActivationBlock));  // what was there before
    kernels(isa).quantize_row(blocks.data(), x.data(), n);
    return blocks;
}

bool same_bits(const ActivationBlock& a, const ActivationBlock& b) {  // but for the padding
    return std::bit_cast<std::uint32_t>(a.scale) == std::bit_cast<std::uint32_t>(b.scale) &&
           std::memcmp(a.planes, b.planes, sizeof a.planes) == 0 &&
           std::memcmp(a.sums, b.sums, sizeof a.sums) == 0 &&
           std::memcmp(a.wide_sums, b.wide_sums, sizeof a.wide_sums) == 0;
}

bool same_bits(const std::vector<ActivationBlock>& a, const std::vector<ActivationBlock>& b) {
    return std::equal(
        a.begin(), a.end(), b.begin(), b.end(),
        [](const ActivationBlock& left, const ActivationBlock& right) { return same_bits(left, right); });
}

class QuantizeOn : public testing::TestWithParam<Isa> {};

TEST_P(QuantizeOn, EveryValueIsWithinHalfAScaleAndTheRestIsZero) {
    for (const std::int64_t n : {1, 31, 32, 33, 100, 176, 256, 257, 448, 700}) {
        const auto x = test::random_floats(n, 1);
        const auto blocks = quantized(GetParam(), x);
        for (std::size_t i = 0; i < blocks.size() * 256; ++i) {
            const ActivationBlock& block = blocks[i / 256];
            const float scale = block.scale;
            const int q = block.value(static_cast<int>(i % 256));
            const int high = block.planes[0][i % 256];
            EXPECT_LE(std::abs(q), ActivationBlock::kLargest);
            EXPECT_LE(std::abs(high), 127);
            if (i < x.size()) {
                EXPECT_NEAR(x[i], scale * static_cast<float>(q), 0.501F * scale);
                EXPECT_NEAR(x[i], block.plane_scale(0) * static_cast<float>(high), 64.501F * scale);
            } else {
                EXPECT_EQ(q, 0);
            }
            for (int p = 0; p < ActivationBlock::kPlanes && i % 32 == 0; ++p) {
                const std::int8_t* plane = block.planes[p] + i % 256;
                const int first = std::accumulate(plane, plane + 16, 0);
                const int second = std::accumulate(plane + 16, plane + 32, 0);
                EXPECT_EQ(block.sums[p][i % 256 / 16], first);
                EXPECT_EQ(block.sums[p][i % 256 / 16 + 1], second);
                EXPECT_EQ(block.wide_sums[p][i % 256 / 32], first + second);
            }
            if (i % 256 == 0) {
                float largest = 0;
                for (std::size_t j = i; j < std::min(i + 256, x.size()); ++j)
                    largest = std::max(largest, std::abs(x[j]));
                EXPECT_EQ(scale, largest / 16256.0F);
            }
        }
    }
}

TEST_P(QuantizeOn, HasTheBitsOfTheReference) {
    const auto x = test::random_floats(1000, 2);
    EXPECT_TRUE(same_bits(quantized(GetParam(), x), quantized(Isa::scalar, x)));
}

TEST_P(QuantizeOn, HalvesGoToTheEvenNeighbour) {
    std::vector<float> x(16, 16256.0F);  // so the scale is 1
    for (std::size_t i = 0; i < 15; ++i) x[i] = static_cast<float>(i) + 0.5F;
    const auto blocks = quantized(GetParam(), x);
    for (int i = 0; i < 15; ++i) EXPECT_EQ(blocks[0].value(i), i + i % 2) << i;
}

TEST_P(QuantizeOn, ANonFiniteValueTakesItsBlockWithItAndNoOther) {
    for (const float poison :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
          std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
        auto x = test::random_floats(512, 3);
        const auto clean = quantized(GetParam(), x);
        x[77] = poison;
        const auto blocks = quantized(GetParam(), x);
        EXPECT_TRUE(std::isnan(blocks[0].scale));
        for (int i = 0; i < 256; ++i) EXPECT_EQ(blocks[0].value(i), 0);
        EXPECT_TRUE(same_bits(blocks[1], clean[1]));
    }
}

TEST_P(QuantizeOn, ExtremesOfTheFloatRangeStayFinite) {
    for (const float size : {0.0F, 1e-45F, 1e-38F, 1e-36F, 1e-30F, 1e30F, 3.4e38F}) {
        std::vector<float> x(32, size);
        x[3] = -size;
        x[4] = size / 3;
        const auto blocks = quantized(GetParam(), x);
        for (std::size_t i = 0; i < 32; ++i) {
            const float back = blocks[0].scale * static_cast<float>(blocks[0].value(static_cast<int>(i)));
            EXPECT_NEAR(back, x[i], std::max(0x1p-113F, size / 16256)) << size;
        }
        EXPECT_TRUE(same_bits(blocks, quantized(Isa::scalar, x)));
    }
}

INSTANTIATE_TEST_SUITE_P(Isa, QuantizeOn, testing::ValuesIn(available_isas()),
                         [](const auto& param) { return std::string(isa_name(param.param)); });

TEST(QuantizeHeads, HeadsOfARowBecomeRowsOfTheirOwn) {
    constexpr std::int64_t kTokens = 3;
    constexpr std::int64_t kHeads = 5;
    constexpr std::int64_t kValues = 64;
    constexpr std::int64_t kStride = 70;
    ThreadTeam team(2);
    const auto x = test::random_floats(kTokens * kHeads * kStride, 4);
    const ActivationBuffer buffer(kTokens * kHeads);
    const ActivationRows rows = buffer.rows(kTokens * kHeads, kValues);
    quantize_heads(team, rows, {x.data(), kTokens, kHeads * kStride, kHeads * kStride}, kHeads, kValues,
                   kStride);
    for (std::int64_t t = 0; t < kTokens; ++t)
        for (std::int64_t h = 0; h < kHeads; ++h) {
            const auto first = x.begin() + (t * kHeads + h) * kStride;
            const auto expected = quantized(Isa::scalar, {first, first + kValues});
            EXPECT_TRUE(same_bits(*rows.row(t * kHeads + h), expected[0]));
        }
}

}  // namespace
}  // namespace greenroom::cpu
