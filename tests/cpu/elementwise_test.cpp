// Norms, rotary embedding and activations against their formulas in double.

#include "cpu/elementwise.h"

#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace greenroom::cpu {
namespace {

class Elementwise : public testing::Test {
  protected:
    ThreadTeam team_{2};
};

TEST_F(Elementwise, RmsNormIsItsFormulaAlsoInPlaceAndOfAllZeros) {
    constexpr std::int64_t n_rows = 3;
    constexpr std::int64_t n_cols = 50;
    constexpr float eps = 1e-5F;
    auto x = test::random_floats(n_rows * n_cols, 1);
    std::fill(x.begin(), x.begin() + n_cols, 0.0F);
    const auto weight = test::random_floats(n_cols, 2);
    std::vector<float> out(x.size());
    rms_norm(team_, {out.data(), n_rows, n_cols, n_cols}, {x.data(), n_rows, n_cols, n_cols}, weight.data(),
             eps);
    for (std::size_t r = 0; r < n_rows; ++r) {
        double sum = 0;
        for (std::size_t i = 0; i < n_cols; ++i) sum += std::pow(static_cast<double>(x[r * n_cols + i]), 2);
        for (std::size_t i = 0; i < n_cols; ++i) {
            const double expected = x[r * n_cols + i] / std::sqrt(sum / n_cols + eps) * weight[i];
            EXPECT_NEAR(out[r * n_cols + i], expected, 1e-6 * std::abs(expected));
        }
    }
    rms_norm(team_, {x.data(), n_rows, n_cols, n_cols}, {x.data(), n_rows, n_cols, n_cols}, weight.data(),
             eps);
    EXPECT_EQ(x, out);
}

TEST_F(Elementwise, LayerNormIsItsFormulaAlsoInPlace) {
    constexpr std::int64_t n_rows = 3;
    constexpr std::int64_t n_cols = 50;
    constexpr float eps = 1e-6F;
    auto x = test::random_floats(n_rows * n_cols, 1);
    const auto weight = test::random_floats(n_cols, 2);
    const auto bias = test::random_floats(n_cols, 3);
    std::vector<float> out(x.size());
    layer_norm(team_, {out.data(), n_rows, n_cols, n_cols}, {x.data(), n_rows, n_cols, n_cols}, weight.data(),
               bias.data(), eps);
    for (std::size_t r = 0; r < n_rows; ++r) {
        double mean = 0;
        for (std::size_t i = 0; i < n_cols; ++i) mean += static_cast<double>(x[r * n_cols + i]) / n_cols;
        double variance = 0;
        for (std::size_t i = 0; i < n_cols; ++i)
            variance += std::pow(static_cast<double>(x[r * n_cols + i]) - mean, 2) / n_cols;
        for (std::size_t i = 0; i < n_cols; ++i) {
            const double v = (static_cast<double>(x[r * n_cols + i]) - mean) / std::sqrt(variance + eps);
            EXPECT_NEAR(out[r * n_cols + i], v * weight[i] + bias[i], 1e-5 * (1 + std::abs(v * weight[i])));
        }
    }
    layer_norm(team_, {x.data(), n_rows, n_cols, n_cols}, {x.data(), n_rows, n_cols, n_cols}, weight.data(),
               bias.data(), eps);
    EXPECT_EQ(x, out);
}

TEST_F(Elementwise, GateMultipliesBySigmoid) {
    auto x = test::random_floats(60, 1);
    const auto before = x;
    const auto logits = test::random_floats(60, 2);
    gate(team_, {x.data(), 3, 10, 20}, {logits.data(), 3, 10, 20});
    for (std::size_t i = 0; i < x.size(); ++i) {
        const double factor = i % 20 < 10 ? 1 / (1 + std::exp(-static_cast<double>(logits[i]))) : 1.0;
        EXPECT_NEAR(x[i], static_cast<double>(before[i]) * factor, 1e-6 * (1 + std::abs(before[i]))) << i;
    }
}

// Rotating by position p multiplies the complex number of each pair by e^(i·p·θ) (RoFormer, eq. 34).
void expect_rotation(RopePairing pairing, std::size_t first_of_pair_1, std::size_t second_of_pair_0) {
    ThreadTeam team(1);
    const std::vector<float> frequencies = {1.0F, 0.25F};
    const std::vector<std::int32_t> positions = {0, 7};
    std::vector<float> angles(2 * 4);
    rope_angles(team, {angles.data(), 2, 4, 4}, positions, frequencies, 2.0F);

    constexpr std::int64_t n_heads = 2;
    constexpr std::int64_t x_stride = 6;  // two values of each head are not rotated
    constexpr std::int64_t out_stride = 5;
    const auto x = test::random_floats(2 * n_heads * x_stride, 3);
    std::vector<float> out(2 * n_heads * out_stride, -1.0F);
    rope(team, {out.data(), 2, n_heads * out_stride, n_heads * out_stride}, out_stride,
         {x.data(), 2, n_heads * x_stride, n_heads * x_stride}, x_stride, n_heads, {angles.data(), 2, 4, 4},
         pairing);
    for (std::size_t t = 0; t < 2; ++t)
        for (std::size_t h = 0; h < n_heads; ++h) {
            const float* from = &x[(t * n_heads + h) * x_stride];
            const float* to = &out[(t * n_heads + h) * out_stride];
            for (std::size_t i = 0; i < 2; ++i) {
                const std::size_t a = i * first_of_pair_1;
                const std::size_t b = a + second_of_pair_0;
                const double theta = positions[t] * static_cast<double>(frequencies[i]);
                EXPECT_NEAR(to[a], 2 * (from[a] * std::cos(theta) - from[b] * std::sin(theta)), 1e-4);
                EXPECT_NEAR(to[b], 2 * (from[a] * std::sin(theta) + from[b] * std::cos(theta)), 1e-4);
            }
            EXPECT_EQ(to[4], -1.0F) << "wrote beyond the rotated values";
        }
}

TEST_F(Elementwise, RopeOfNeighboursRotatesAdjacentValues) { expect_rotation(RopePairing::neighbours, 2, 1); }

TEST_F(Elementwise, RopeOfHalvesRotatesValuesHalfAHeadApart) { expect_rotation(RopePairing::halves, 1, 2); }

TEST_F(Elementwise, SiluGluIsSiluTimesUpAndSurvivesLargeValues) {
    std::vector<float> gate = {-200.0F, -3.0F, 0.0F, 2.0F, 200.0F};
    const std::vector<float> up = {1.0F, 2.0F, 3.0F, 4.0F, 0.5F};
    const auto before = gate;
    glu(team_, {gate.data(), 1, 5, 5}, {up.data(), 1, 5, 5}, Glu::silu);
    for (std::size_t i = 0; i < gate.size(); ++i) {
        const double g = before[i];
        EXPECT_NEAR(gate[i], g / (1.0 + std::exp(-g)) * up[i], 1e-5);
    }
}

TEST_F(Elementwise, ClampedSwigluIsGptOssFormula) {
    std::vector<float> gate = {-200.0F, -3.0F, 0.5F, 7.5F, 200.0F};
    const std::vector<float> up = {1.0F, -9.0F, 3.0F, 4.0F, 20.0F};
    const auto before = gate;
    glu(team_, {gate.data(), 1, 5, 5}, {up.data(), 1, 5, 5}, Glu::clamped_swiglu);
    for (std::size_t i = 0; i < gate.size(); ++i) {
        const double g = std::min(7.0, static_cast<double>(before[i]));
        const double u = std::min(7.0, std::max(-7.0, static_cast<double>(up[i])));
        EXPECT_NEAR(gate[i], (u + 1) * g / (1.0 + std::exp(-1.702 * g)), 1e-4);
    }
}

TEST_F(Elementwise, ScalesAndGatesWorkRowByRow) {
    const std::vector<float> start = {1, 2, -1, 3, 4, -1};
    const auto on_copy = [&](auto&& operation) {
        auto x = start;
        operation(MatrixView{x.data(), 2, 2, 3});
        return x;
    };
    const std::vector<float> factors = {10, 100};
    const std::vector<float> logits = {0, 100};
    const std::vector<float> bias = {5, 6};
    EXPECT_EQ(on_copy([&](MatrixView x) { scale(team_, x, 2.0F); }),
              (std::vector<float>{2, 4, -1, 6, 8, -1}));
    EXPECT_EQ(on_copy([&](MatrixView x) { scale_rows(team_, x, factors); }),
              (std::vector<float>{10, 20, -1, 300, 400, -1}));
    EXPECT_EQ(on_copy([&](MatrixView x) {
                  gate_rows(team_, x, {logits.data(), 2, 1, 1});
              }),
              (std::vector<float>{0.5F, 1, -1, 3, 4, -1}));
    EXPECT_EQ(on_copy([&](MatrixView x) { add_bias(team_, x, bias.data()); }),
              (std::vector<float>{6, 8, -1, 8, 10, -1}));
}

TEST_F(Elementwise, RmsNormWithoutWeightsHasLengthOne) {
    std::vector<float> x = {3, 4};
    rms_norm(team_, {x.data(), 1, 2, 2}, {x.data(), 1, 2, 2}, nullptr, 0.0F);
    EXPECT_NEAR(x[0], 3 / std::sqrt(12.5), 1e-6);
    EXPECT_NEAR(x[1], 4 / std::sqrt(12.5), 1e-6);
}

TEST_F(Elementwise, AddAndCopyRespectStrides) {
    std::vector<float> x = {1, 2, -1, 3, 4, -1};
    const std::vector<float> y = {10, 20, 30, 40};
    add(team_, {x.data(), 2, 2, 3}, {y.data(), 2, 2, 2});
    EXPECT_EQ(x, (std::vector<float>{11, 22, -1, 33, 44, -1}));
    copy({x.data(), 2, 2, 3}, {y.data(), 2, 2, 2});
    EXPECT_EQ(x, (std::vector<float>{10, 20, -1, 30, 40, -1}));
}

}  // namespace
}  // namespace greenroom::cpu
