// The decoding of kernels, run on the host, against quant/decode: bit for bit.

#include "gpu/blocks.cuh"
#include "quant/decode.h"
#include "tests/support/random_tensor.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace greenroom::gpu {
namespace {

class Blocks : public testing::TestWithParam<quant::Type> {};

// Same bits; of a NaN (a scale may be one) only that it is one.
void expect_same(float value, float expected, std::int64_t at) {
    if (std::isnan(expected))
        ASSERT_TRUE(std::isnan(value)) << "value " << at;
    else
        ASSERT_EQ(std::bit_cast<std::uint32_t>(value), std::bit_cast<std::uint32_t>(expected))
            << "value " << at << ": " << value << ", expected " << expected;
}

TEST_P(Blocks, AreDecodedLikeTheReference) {
    constexpr std::int64_t kRowValues = 512;
    constexpr std::int64_t kRows = 100;
    std::mt19937 random(1);
    std::vector<std::byte> bytes(static_cast<std::size_t>(quant::row_bytes(GetParam(), kRowValues) * kRows));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    std::vector<float> expected(kRowValues);
    for (std::int64_t r = 0; r < kRows; ++r) {
        const std::byte* row = bytes.data() + r * quant::row_bytes(GetParam(), kRowValues);
        quant::decode_row(GetParam(), row, expected.data(), kRowValues);
        const bool known = with_type(GetParam(), [&](auto tag) {
            for (std::int64_t group = 0; group < kRowValues / kGroupValues; ++group) {
                float values[kGroupValues];
                read_values<typename decltype(tag)::Type>(row, kRowValues, group, values);
                for (std::int64_t j = 0; j < kGroupValues; ++j) {
                    const std::int64_t at = group * kGroupValues + j;
                    expect_same(values[j], expected[static_cast<std::size_t>(at)], at);
                }
            }
        });
        ASSERT_TRUE(known);
        if (HasFatalFailure()) return;
    }
}

// What a dot product relies on: where there is no second scale, and no offset, the halves say so.
TEST_P(Blocks, UnitsKeepTheirPromises) {
    const test::RandomTensor tensor(GetParam(), 512, 50, 1, 2);
    const auto check = [&](auto tag) {
        using T = typename decltype(tag)::Type;
        if constexpr (kIsQuantized<T>) {
            for (std::int64_t i = 0; i < tensor.view.n_values() / kUnitValues; ++i) {
                Unit unit;
                read_unit<T>(tensor.bytes.data(), i, unit);
                if (!Format<T>::kTwoScales) {
                    ASSERT_EQ(unit.scale[0], unit.scale[1]);
                    ASSERT_EQ(unit.offset[0], unit.offset[1]);
                }
                if (!Format<T>::kHasOffset) {
                    ASSERT_EQ(unit.offset[0], 0.0F);
                    ASSERT_EQ(unit.offset[1], 0.0F);
                }
            }
        }
    };
    ASSERT_TRUE(with_type(GetParam(), check));
}

std::vector<quant::Type> decodable_types() {
    std::vector<quant::Type> types;
    for (std::uint32_t id = 0; id < 64; ++id)
        if (const quant::TypeInfo* info = quant::find_type(id))
            if (info->decodable && info->type != quant::Type::Q8_K) types.push_back(info->type);
    return types;
}

// All but Q8_K, which never comes from a file.
INSTANTIATE_TEST_SUITE_P(AllTypes, Blocks, testing::ValuesIn(decodable_types()),
                         [](const auto& param) { return std::string(quant::type_name(param.param)); });

}  // namespace
}  // namespace greenroom::gpu
