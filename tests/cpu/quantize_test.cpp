// Activations in 8 bits: the promises of cpu/quantize.h, on every ISA of this CPU.

#include "cpu/quantize.h"

#include "cpu/kernels.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
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
    return std::memcmp(a.scales, b.scales, sizeof a.scales) == 0 && std::memcmp(a.q, b.q, sizeof a.q) == 0 &&
           std::memcmp(a.sums, b.sums, sizeof a.sums) == 0;
}

bool same_bits(const std::vector<ActivationBlock>& a, const std::vector<ActivationBlock>& b) {
    return std::equal(
        a.begin(), a.end(), b.begin(), b.end(),
        [](const ActivationBlock& left, const ActivationBlock& right) { return same_bits(left, right); });
}

class QuantizeOn : public testing::TestWithParam<Isa> {};

TEST_P(QuantizeOn, EveryValueIsWithinHalfAScaleAndTheRestIsZero) {
    for (const std::int64_t n : {1, 31, 32, 33, 100, 256, 257, 700}) {
        const auto x = test::random_floats(n, 1);
        const auto blocks = quantized(GetParam(), x);
        for (std::size_t i = 0; i < blocks.size() * 256; ++i) {
            const ActivationBlock& block = blocks[i / 256];
            const float scale = block.scales[i % 256 / 16];
            const int q = block.q[i % 256];
            EXPECT_LE(std::abs(q), 127);
            if (i < x.size())
                EXPECT_NEAR(x[i], scale * static_cast<float>(q), 0.500001F * scale);
            else
                EXPECT_EQ(q, 0);
            if (i % 16 == 0) {
                int sum = 0;
                for (std::size_t j = i; j < i + 16; ++j) sum += block.q[j % 256];
                EXPECT_EQ(block.sums[i % 256 / 16], sum);
            }
            if (i % 16 == 0) {
                float largest = 0;
                for (std::size_t j = i; j < std::min(i + 16, x.size()); ++j)
                    largest = std::max(largest, std::abs(x[j]));
                EXPECT_EQ(scale, largest / 127.0F);
            }
        }
    }
}

TEST_P(QuantizeOn, HasTheBitsOfTheReference) {
    const auto x = test::random_floats(1000, 2);
    EXPECT_TRUE(same_bits(quantized(GetParam(), x), quantized(Isa::scalar, x)));
}

TEST_P(QuantizeOn, HalvesGoToTheEvenNeighbour) {
    std::vector<float> x;
    for (int i = 0; i < 15; ++i) x.push_back(static_cast<float>(i) + 0.5F);
    x.push_back(127.0F);  // so the scale is 1
    const auto blocks = quantized(GetParam(), x);
    for (int i = 0; i < 15; ++i) EXPECT_EQ(blocks[0].q[i], i + i % 2) << i;
}

TEST_P(QuantizeOn, ANonFiniteValueTakesItsGroupWithItAndNoOther) {
    for (const float poison :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN(),
          std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
        auto x = test::random_floats(256, 3);
        const auto clean = quantized(GetParam(), x);
        x[77] = poison;
        const auto blocks = quantized(GetParam(), x);
        for (std::size_t g = 0; g < 16; ++g) {
            if (g == 77 / 16) {
                EXPECT_TRUE(std::isnan(blocks[0].scales[g]));
                EXPECT_TRUE(std::all_of(blocks[0].q + 16 * g, blocks[0].q + 16 * (g + 1),
                                        [](std::int8_t q) { return q == 0; }));
            } else {
                EXPECT_EQ(blocks[0].scales[g], clean[0].scales[g]);
                EXPECT_TRUE(
                    std::equal(blocks[0].q + 16 * g, blocks[0].q + 16 * (g + 1), clean[0].q + 16 * g));
            }
        }
    }
}

TEST_P(QuantizeOn, ExtremesOfTheFloatRangeStayFinite) {
    for (const float size : {0.0F, 1e-45F, 1e-38F, 1e-36F, 1e-30F, 1e30F, 3.4e38F}) {
        std::vector<float> x(32, size);
        x[3] = -size;
        x[4] = size / 3;
        const auto blocks = quantized(GetParam(), x);
        for (std::size_t i = 0; i < 32; ++i) {
            const float back = blocks[0].scales[i / 16] * static_cast<float>(blocks[0].q[i]);
            EXPECT_NEAR(back, x[i], std::max(0x1p-119F, size / 127)) << size;
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

// The second term is the quantized rest of the first: together within a 254th of a 254th of the largest.
TEST(QuantizeRows, TwoTermsLeaveNextToNothing) {
    constexpr std::int64_t kTokens = 3;
    constexpr std::int64_t kValues = 300;
    ThreadTeam team(2);
    const auto x = test::random_floats(kTokens * kValues, 5);
    const ActivationBuffer buffer(2 * kTokens * activation_blocks(kValues));
    const ActivationRows rows = buffer.rows(2 * kTokens, kValues);
    quantize_rows(team, rows, {x.data(), kTokens, kValues, kValues}, Terms::two);
    for (std::int64_t t = 0; t < kTokens; ++t) {
        const auto first = x.begin() + t * kValues;
        const auto one_term = quantized(Isa::scalar, {first, first + kValues});
        for (std::size_t b = 0; b < one_term.size(); ++b)
            EXPECT_TRUE(same_bits(rows.row(2 * t)[b], one_term[b]));
        for (std::int64_t i = 0; i < kValues; ++i) {
            double sum = 0;
            for (const std::int64_t term : {0, 1}) {
                const ActivationBlock& block = rows.row(2 * t + term)[i / 256];
                sum += static_cast<double>(block.scales[i % 256 / 16]) * block.q[i % 256];
            }
            const double largest = one_term[static_cast<std::size_t>(i / 256)].scales[i % 256 / 16] * 127.0;
            EXPECT_NEAR(sum, first[i], largest * (1.01 / (254 * 254) + 1e-7)) << t << " " << i;
        }
    }
}

}  // namespace
}  // namespace greenroom::cpu
