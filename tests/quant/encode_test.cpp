#include "quant/encode.h"

#include "quant/base/error.h"
#include "quant/blocks.h"
#include "quant/decode.h"
#include "quant/half.h"
#include "tests/support/npy.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace greenroom::quant {
namespace {

using test::load_npy;
using test::test_data;

constexpr Type kEncodable[] = {Type::F32,  Type::F16,  Type::BF16, Type::Q8_0,
                               Type::Q8_K, Type::Q4_0, Type::Q4_K};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::filesystem::path oracle(const std::string& file) { return test_data("oracle/quant/" + file); }

std::vector<std::uint8_t> encode(Type type, const std::vector<float>& values) {
    const auto n_values = static_cast<std::int64_t>(values.size());
    std::vector<std::uint8_t> raw(static_cast<std::size_t>(row_bytes(type, n_values)));
    encode_row(type, values.data(), reinterpret_cast<std::byte*>(raw.data()), n_values);
    return raw;
}

std::vector<float> decode(Type type, const std::vector<std::uint8_t>& raw, std::size_t n_values) {
    std::vector<float> values(n_values);
    decode_row(type, reinterpret_cast<const std::byte*>(raw.data()), values.data(),
               static_cast<std::int64_t>(n_values));
    return values;
}

std::vector<float> encode_and_decode(Type type, const std::vector<float>& values) {
    return decode(type, encode(type, values), values.size());
}

double squared_error(const float* a, const float* b, int n) {
    double sum = 0;
    for (int i = 0; i < n; ++i)
        sum += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    return sum;
}

// n_values values whose super-blocks differ in what makes a block hard: spread, offset, outliers, sparseness.
std::vector<float> varied_values(unsigned seed, std::size_t n_values) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::uniform_real_distribution<float> uniform;
    std::vector<float> values(n_values);
    float spread = 0, offset = 0, outlier_share = 0, zero_share = 0;
    for (std::size_t i = 0; i < n_values; ++i) {
        if (i % 256 == 0) {
            spread = std::exp2(uniform(random) * 20 - 14);
            offset = uniform(random) < 0.5f ? 0 : spread * 3 * normal(random);
            outlier_share = uniform(random) < 0.5f ? 0 : 0.02f;
            zero_share = uniform(random) < 0.5f ? 0 : uniform(random);
        }
        values[i] = offset + spread * normal(random);
        if (uniform(random) < outlier_share) values[i] *= 20;
        if (uniform(random) < zero_share) values[i] = 0;
    }
    return values;
}

// ---- Against the reference implementation's output ----

class EncodeReference : public testing::TestWithParam<const char*> {};

TEST_P(EncodeReference, ActivationHasTheSameBytes) {
    const std::string name = GetParam();
    const auto x = load_npy<float>(oracle("x.npy"));
    const auto expected = load_npy<std::uint8_t>(oracle("act_" + name + ".npy"));
    EXPECT_EQ(encode(find_type(name)->type, x.values), expected.values);
}

INSTANTIATE_TEST_SUITE_P(Oracle, EncodeReference, testing::Values("F16", "BF16", "Q8_0", "Q8_K"),
                         [](const auto& param) { return std::string(param.param); });

class EncodeWeights : public testing::TestWithParam<const char*> {};

// types.json: none of these was made with importance weights.
TEST_P(EncodeWeights, HaveTheSameBytes) {
    const std::string name = GetParam();
    const auto weights = load_npy<float>(oracle("weights.npy"));
    const auto expected = load_npy<std::uint8_t>(oracle("raw_" + name + ".npy"));
    EXPECT_EQ(encode(find_type(name)->type, weights.values), expected.values);
}

INSTANTIATE_TEST_SUITE_P(Oracle, EncodeWeights, testing::Values("F16", "BF16", "Q8_0", "Q4_0"),
                         [](const auto& param) { return std::string(param.param); });

TEST(EncodeQ4K, IsAtLeastAsCloseAsTheReference) {
    const auto weights = load_npy<float>(oracle("weights.npy"));
    const auto reference = load_npy<float>(oracle("dequant_Q4_K.npy"));
    const std::vector<float> ours = encode_and_decode(Type::Q4_K, weights.values);
    const int n_values = static_cast<int>(ours.size());
    const double ours_rms = std::sqrt(squared_error(ours.data(), weights.values.data(), n_values) / n_values);
    const double reference_rms =
        std::sqrt(squared_error(reference.values.data(), weights.values.data(), n_values) / n_values);
    EXPECT_LE(ours_rms, reference_rms);
    for (int i = 0; i < n_values; i += 256) {
        EXPECT_LE(squared_error(&ours[i], &weights.values[i], 256),
                  1.05 * squared_error(&reference.values[i], &weights.values[i], 256))
            << "super-block " << i / 256;
    }
}

// ---- encode∘decode ----

class EncodeProperty : public testing::TestWithParam<unsigned> {
  protected:
    const std::vector<float> values = varied_values(GetParam(), 256 * 64);
};

// A half float has 11 significant bits: rounding a scale costs a relative 2^-11, or 2^-25 in all where it is
// subnormal.
constexpr double kHalfRounding = 0x1p-11;
constexpr double kHalfSubnormal = 0x1p-25;

double largest_magnitude(const float* values, int n) {
    double largest = 0;
    for (int i = 0; i < n; ++i) largest = std::max<double>(largest, std::fabs(values[i]));
    return largest;
}

TEST_P(EncodeProperty, Q8_0IsWithinHalfAStep) {
    const std::vector<float> y = encode_and_decode(Type::Q8_0, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double peak = largest_magnitude(&values[i / 32 * 32], 32);
        // The 1e-6 is for the float32 arithmetic on the way.
        const double bound = peak / 127 * (0.5 + 1e-6 * 127) + peak * kHalfRounding + 127 * kHalfSubnormal;
        ASSERT_LE(std::fabs(static_cast<double>(y[i]) - values[i]), bound) << i << " seed " << GetParam();
    }
}

TEST_P(EncodeProperty, Q8KIsWithinHalfAStepAndItsSumsAreRight) {
    const std::vector<std::uint8_t> raw = encode(Type::Q8_K, values);
    const std::vector<float> y = decode(Type::Q8_K, raw, values.size());
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double peak = largest_magnitude(&values[i / 256 * 256], 256);
        ASSERT_LE(std::fabs(static_cast<double>(y[i]) - values[i]), peak / 127 * (0.5 + 1e-6 * 127))
            << i << " seed " << GetParam();
    }
    for (std::size_t i = 0; i < values.size() / 256; ++i) {
        BlockQ8K block;
        std::memcpy(&block, raw.data() + i * sizeof block, sizeof block);
        for (int j = 0; j < 256; ++j)
            block.bsums[j / 16] = static_cast<std::int16_t>(block.bsums[j / 16] - block.qs[j]);
        for (const int rest : block.bsums) ASSERT_EQ(rest, 0) << i << " seed " << GetParam();
    }
}

TEST_P(EncodeProperty, Q4_0IsWithinOneStep) {
    const std::vector<float> y = encode_and_decode(Type::Q4_0, values);
    for (std::size_t i = 0; i < values.size(); ++i) {
        // One step, not half: the far end on the other side of the peak is one step short.
        const double peak = largest_magnitude(&values[i / 32 * 32], 32);
        const double bound = peak / 8 * (1 + 1e-5) + peak * kHalfRounding + 8 * kHalfSubnormal;
        ASSERT_LE(std::fabs(static_cast<double>(y[i]) - values[i]), bound) << i << " seed " << GetParam();
    }
}

// Spreading 16 levels evenly from the smallest (or 0) to the largest value of a group, with the scales and
// mins rounded to six bits of the largest: what any search has to improve on.
std::vector<float> simple_q4_k(const float* x) {
    double scale[8], min[8];
    double largest_scale = 0, largest_min = 0;
    for (int g = 0; g < 8; ++g) {
        const auto [low, high] = std::minmax_element(x + 32 * g, x + 32 * g + 32);
        min[g] = std::max(0.0, -static_cast<double>(*low));
        scale[g] = std::max(0.0, (*high + min[g]) / 15);
        largest_scale = std::max(largest_scale, scale[g]);
        largest_min = std::max(largest_min, min[g]);
    }
    const double d = f16_to_f32(f32_to_f16(static_cast<float>(largest_scale / 63)));
    const double dmin = f16_to_f32(f32_to_f16(static_cast<float>(largest_min / 63)));
    std::vector<float> y(256);
    for (int j = 0; j < 256; ++j) {
        const double s = d > 0 ? d * std::min(63.0, std::round(scale[j / 32] / d)) : 0;
        const double m = dmin > 0 ? dmin * std::min(63.0, std::round(min[j / 32] / dmin)) : 0;
        const double q = s > 0 ? std::clamp(std::round((x[j] + m) / s), 0.0, 15.0) : 0;
        y[j] = static_cast<float>(s * q - m);
    }
    return y;
}

TEST_P(EncodeProperty, Q4KIsNoWorseThanEvenlySpreadLevels) {
    const std::vector<float> y = encode_and_decode(Type::Q4_K, values);
    double sum = 0;
    double simple_sum = 0;
    for (std::size_t i = 0; i < values.size(); i += 256) {
        const double error = squared_error(&y[i], &values[i], 256);
        const double simple = squared_error(simple_q4_k(&values[i]).data(), &values[i], 256);
        ASSERT_LE(error, (1 + 1e-5) * simple) << "super-block " << i / 256 << " seed " << GetParam();
        sum += error;
        simple_sum += simple;
    }
    EXPECT_LE(sum, 0.9 * simple_sum) << "seed " << GetParam();
}

// What was decoded from such a block is encoded into the same block. (Not Q4_K, whose search may find
// another.)
TEST_P(EncodeProperty, SecondRoundTripChangesNothing) {
    for (const Type type : {Type::F32, Type::F16, Type::BF16, Type::Q8_0, Type::Q4_0}) {
        const std::vector<std::uint8_t> once = encode(type, values);
        EXPECT_EQ(encode(type, decode(type, once, values.size())), once)
            << type_name(type) << " seed " << GetParam();
    }
}

INSTANTIATE_TEST_SUITE_P(Seeds, EncodeProperty, testing::Range(1u, 9u));

// ---- Values that make trouble ----

class EncodeEdge : public testing::TestWithParam<Type> {
  protected:
    const Type type = GetParam();
    const bool has_blocks = type_info(type).block_values > 1;
    std::vector<float> values = std::vector<float>(512, 0.0f);
};

TEST_P(EncodeEdge, ZeroStaysZero) {
    for (const float y : encode_and_decode(type, values)) ASSERT_EQ(y, 0.0f);
}

TEST_P(EncodeEdge, ConstantBlocksComeBack) {
    for (const float constant : {1.0f, -1.0f, 0.37f, -0.0123f, 250.0f}) {
        std::fill(values.begin(), values.end(), constant);
        // Q4_K keeps a constant as scale · 15 or as min, each the product of a 6-bit integer and a half
        // float.
        for (const float y : encode_and_decode(type, values))
            ASSERT_NEAR(y, constant, std::fabs(constant) * 0x1p-8) << constant;
    }
}

TEST_P(EncodeEdge, TinyValuesBecomeZeroOrStayTiny) {
    for (const float tiny :
         {std::numeric_limits<float>::denorm_min(), -1e-44f, 1e-40f, -1e-38f, 3e-38f, 1e-37f}) {
        for (std::size_t i = 0; i < values.size(); ++i)
            values[i] = i % 3 == 0 ? tiny : i % 3 == 1 ? -tiny : 0.0f;
        for (const float y : encode_and_decode(type, values))
            ASSERT_LE(std::fabs(y), std::fabs(tiny) * 1.02f) << tiny;
    }
}

TEST_P(EncodeEdge, OneNanOrInfinitySpoilsItsBlockOnly) {
    for (const float bad : {kNan, -kNan, kInfinity, -kInfinity}) {
        std::fill(values.begin(), values.end(), 0.5f);
        values[300] = bad;
        values[301] = -2.0f;
        const std::vector<float> y = encode_and_decode(type, values);
        const int block_values = type_info(type).block_values;
        for (int i = 0; i < 512; ++i) {
            if (i / block_values != 300 / block_values) {
                ASSERT_NEAR(y[i], values[i], 0.1) << i;
            } else if (has_blocks) {
                ASSERT_TRUE(std::isnan(y[i])) << i << ": " << y[i];
            } else {
                ASSERT_TRUE(y[i] == bad || std::isnan(bad)) << y[i];
                ASSERT_EQ(std::isnan(y[i]), std::isnan(bad)) << y[i];
            }
        }
    }
}

TEST_P(EncodeEdge, HugeValuesDoNotTurnIntoOrdinaryOnes) {
    for (const float huge : {1e9f, -1e30f, std::numeric_limits<float>::max()}) {
        std::fill(values.begin(), values.end(), huge);
        values[1] = -huge;
        for (const float y : encode_and_decode(type, values))
            ASSERT_TRUE(!std::isfinite(y) || std::fabs(y) >= 0.8f * std::fabs(huge)) << y << " for " << huge;
    }
}

TEST_P(EncodeEdge, WritesToAnyAddressAndNothingElse) {
    const std::vector<float> some = varied_values(1, 512);
    const std::vector<std::uint8_t> expected = encode(type, some);
    std::vector<std::uint8_t> raw(expected.size() + 8, 0xa5);
    encode_row(type, some.data(), reinterpret_cast<std::byte*>(raw.data() + 3), 512);
    EXPECT_TRUE(std::equal(expected.begin(), expected.end(), raw.begin() + 3));
    EXPECT_EQ(std::count(raw.begin(), raw.begin() + 3, 0xa5), 3);
    EXPECT_EQ(std::count(raw.end() - 5, raw.end(), 0xa5), 5);
}

INSTANTIATE_TEST_SUITE_P(Types, EncodeEdge, testing::ValuesIn(kEncodable),
                         [](const auto& param) { return std::string(type_name(param.param)); });

TEST(Encode, RefusesWhatItCannotDo) {
    std::vector<float> values(256);
    std::vector<std::byte> blocks(1024);
    EXPECT_FALSE(encodable(Type::Q6_K));
    EXPECT_THROW(encode_row(Type::Q6_K, values.data(), blocks.data(), 256), Error);
    EXPECT_THROW(encode_row(Type::Q4_K, values.data(), blocks.data(), 128), Error);
    for (const Type type : kEncodable) EXPECT_TRUE(encodable(type)) << type_name(type);
}

}  // namespace
}  // namespace greenroom::quant
