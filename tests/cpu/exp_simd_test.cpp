// The vectorised e^x and what is built on it, against std::exp in double.

#include "cpu/exp_simd.h"

#include "cpu/activation.h"
#include "cpu/kernels.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace greenroom::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

using Sixteen = std::array<float, 16>;

GR_AVX2 Sixteen exp_of_two_eights(const Sixteen& x) {
    Sixteen out;
    _mm256_storeu_ps(out.data(), exp_avx2(_mm256_loadu_ps(x.data())));
    _mm256_storeu_ps(out.data() + 8, exp_avx2(_mm256_loadu_ps(x.data() + 8)));
    return out;
}

GR_AVX512 Sixteen exp_of_sixteen(const Sixteen& x) {
    Sixteen out;
    _mm512_storeu_ps(out.data(), exp_avx512(_mm512_loadu_ps(x.data())));
    return out;
}

class ExpSimd : public testing::TestWithParam<Isa> {
  protected:
    static Sixteen exp(const Sixteen& x) {
        return vectors_of(GetParam()) == Isa::avx512 ? exp_of_sixteen(x) : exp_of_two_eights(x);
    }
};

// The distance from a float of this size to the next.
double ulp(double value) {
    return std::ldexp(1.0, std::max(std::ilogb(value), std::numeric_limits<float>::min_exponent - 1) - 23);
}

std::vector<Isa> simd_isas() {
    std::vector<Isa> isas = available_isas();
    isas.erase(isas.begin());
    return isas;
}

TEST_P(ExpSimd, IsWithinItsBoundOverTheWholeRange) {
    constexpr double kStep = 1.0 / 4096;
    double worst = 0;
    constexpr int kLowest = -105 * 4096;
    constexpr int kHighest = 89 * 4096;
    for (int from = kLowest; from < kHighest; from += 16) {
        Sixteen x;
        for (std::size_t i = 0; i < x.size(); ++i)
            x[i] = static_cast<float>(kStep * (from + static_cast<int>(i)));
        const Sixteen result = exp(x);
        for (std::size_t i = 0; i < x.size(); ++i) {
            const double exact = std::exp(static_cast<double>(x[i]));
            if (exact > static_cast<double>(std::numeric_limits<float>::max())) continue;
            worst = std::max(worst, std::abs(static_cast<double>(result[i]) - exact) / ulp(exact));
        }
    }
    EXPECT_LT(worst, 1.1);
}

TEST_P(ExpSimd, IsExactWhereNothingIsToBeRounded) {
    const Sixteen x = {0.0F,  -0.0F,   -kInfinity, kInfinity, 88.8F,
                       1e30F, -104.0F, -1e30F,     0x1p-30F,  -0x1p-30F};
    const Sixteen expected = {1, 1, 0, kInfinity, kInfinity, kInfinity, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
    EXPECT_EQ(exp(x), expected);
    EXPECT_GT(exp({88.7F})[0], 3e38F);
    EXPECT_LT(exp({88.7F})[0], kInfinity);
    EXPECT_GT(exp({-103.2F})[0], 0.0F);
}

TEST_P(ExpSimd, OfNaNIsNaNAndLeavesItsNeighboursAlone) {
    const Sixteen result = exp({1.0F, kNaN, 1.0F, -kNaN});
    EXPECT_TRUE(std::isnan(result[1]) && std::isnan(result[3]));
    EXPECT_EQ(result[0], result[2]);
    EXPECT_FLOAT_EQ(result[0], std::exp(1.0F));
}

TEST_P(ExpSimd, GivesTheSameBitsOnEveryIsa) {
    for (std::uint32_t bits = 0; bits < 0xffff0000U; bits += 0x10000U - 0x123U) {
        Sixteen x;
        for (std::uint32_t i = 0; i < 16; ++i) x[i] = std::bit_cast<float>(bits + 977 * i);
        const Sixteen result = exp(x);
        const Sixteen of_avx2 = exp_of_two_eights(x);
        for (std::size_t i = 0; i < 16; ++i) {
            if (std::isnan(x[i])) continue;
            ASSERT_EQ(result[i], of_avx2[i]) << x[i];
        }
    }
}

TEST_P(ExpSimd, GluIsTheReferencesForEveryLengthAndStaysInItsRange) {
    constexpr std::size_t kLongest = 100;
    const Kernels& k = kernels(GetParam());
    auto gate = test::random_floats(kLongest + 1, 1, 4.0F);
    auto up = test::random_floats(kLongest + 1, 2, 4.0F);
    gate[3] = -300.0F;
    gate[4] = 300.0F;
    up[5] = kInfinity;
    for (const Glu kind : {Glu::silu, Glu::clamped_swiglu}) {
        std::vector<float> whole(kLongest);
        k.glu(kind, whole.data(), gate.data(), up.data(), kLongest);
        for (std::size_t n = 0; n <= kLongest; ++n) {
            std::vector<float> out = gate;
            k.glu(kind, out.data(), out.data(), up.data(), static_cast<std::int64_t>(n));
            for (std::size_t i = 0; i < n; ++i) {
                EXPECT_EQ(out[i], whole[i]);
                const float expected = join_glu(kind, gate[i], up[i]);
                if (std::isinf(expected)) {
                    EXPECT_EQ(out[i], expected);
                } else {
                    EXPECT_NEAR(out[i], expected, std::ldexp(std::abs(expected), -21) + 1e-38F) << gate[i];
                }
            }
            EXPECT_EQ(out[n], gate[n]) << "wrote past the end";
        }
    }
    std::vector<float> nan_gate = {kNaN, 1.0F};
    const std::vector<float> nan_up = {1.0F, kNaN};
    for (const Glu kind : {Glu::silu, Glu::clamped_swiglu}) {
        std::vector<float> out(2);
        k.glu(kind, out.data(), nan_gate.data(), nan_up.data(), 2);
        EXPECT_TRUE(std::isnan(out[0]) && std::isnan(out[1]));
    }
}

INSTANTIATE_TEST_SUITE_P(Isa, ExpSimd, testing::ValuesIn(simd_isas()),
                         [](const auto& param) { return std::string(isa_name(param.param)); });
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ExpSimd);

}  // namespace
}  // namespace greenroom::cpu
