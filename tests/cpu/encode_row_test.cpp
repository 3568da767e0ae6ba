// The fast encoders against the reference encode, byte for byte.

#include "cpu/encode_row.h"

#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace greenroom::cpu {
namespace {

using quant::Type;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

void expect_the_bytes_of_the_reference(Type type, const std::vector<float>& values) {
    const auto n = static_cast<std::int64_t>(values.size());
    const auto n_bytes = static_cast<std::size_t>(quant::row_bytes(type, n));
    std::vector<std::byte> expected(n_bytes);
    quant::encode_row(type, values.data(), expected.data(), n);
    for (const Isa isa : available_isas()) {
        std::vector<std::byte> encoded(n_bytes + 1, std::byte{0x5a});
        find_row_encoder(type, isa)(values.data(), encoded.data(), n);
        EXPECT_EQ(encoded.back(), std::byte{0x5a}) << "written beyond the row";
        encoded.pop_back();
        EXPECT_EQ(encoded, expected) << quant::type_name(type) << " " << isa_name(isa) << " " << n;
    }
}

TEST(EncodeRow, EncodersGiveTheBytesOfTheReference) {
    for (const Type type : {Type::F32, Type::F16, Type::BF16, Type::Q8_0, Type::Q4_0})
        for (const std::int64_t n : {32, 64, 96, 576})
            expect_the_bytes_of_the_reference(type, test::random_floats(n, 3));
}

TEST(EncodeRow, HalvesTakeAnyNumberOfValues) {
    for (const Type type : {Type::F16, Type::BF16})
        for (std::int64_t n = 1; n < 40; ++n)
            expect_the_bytes_of_the_reference(type, test::random_floats(n, 4));
}

// Numbers of every size and sign, infinities, and NaN of every kind.
TEST(EncodeRow, HalvesOfAllKindsOfFloats) {
    std::vector<float> values;
    for (std::uint64_t bits = 0; bits <= 0xffffffffU; bits += 0x7ffb)
        values.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    // Between two halves, just beside, and where the largest ends.
    for (const std::uint32_t bits :
         {0x3f801000U, 0x3f803000U, 0x3f801001U, 0x3f800fffU, 0x477fefffU, 0x477ff000U, 0x33000000U,
          0x33000001U, 0x7f800001U, 0xff800001U, 0x7f7fffffU, 0x3f808000U, 0x3f818000U})
        values.push_back(std::bit_cast<float>(bits));
    for (const Type type : {Type::F16, Type::BF16}) expect_the_bytes_of_the_reference(type, values);
}

TEST(EncodeRow, BlocksWithPeaksOfBothSigns) {
    for (const Type type : {Type::Q8_0, Type::Q4_0})
        for (const float first : {2.0F, -2.0F})
            for (const std::size_t at : {0U, 7U, 8U, 21U, 30U}) {
                std::vector<float> values = test::random_floats(32, 5);
                values[at] = first;
                values[31] = -first;
                expect_the_bytes_of_the_reference(type, values);
            }
}

TEST(EncodeRow, BlocksOfTies) {
    for (const Type type : {Type::Q8_0, Type::Q4_0}) {
        std::vector<float> values(32);
        for (int i = 0; i < 32; ++i) values[static_cast<std::size_t>(i)] = static_cast<float>(i - 16) + 0.5F;
        values[3] = 127;
        expect_the_bytes_of_the_reference(type, values);
    }
}

TEST(EncodeRow, BlocksWithWhatNoBlockHolds) {
    constexpr float kTiny = std::numeric_limits<float>::denorm_min();
    for (const Type type : {Type::Q8_0, Type::Q4_0}) {
        for (const float odd : {kNan, -kNan, kInfinity, -kInfinity, 1e38F, kTiny})
            for (const std::size_t at : {0U, 9U, 31U}) {
                std::vector<float> values = test::random_floats(96, 6);
                values[32 + at] = odd;
                expect_the_bytes_of_the_reference(type, values);
            }
        for (const float all : {0.0F, -0.0F, kTiny, -kTiny, 1e-39F, 1e-36F})
            expect_the_bytes_of_the_reference(type, std::vector<float>(32, all));
    }
}

}  // namespace
}  // namespace greenroom::cpu
