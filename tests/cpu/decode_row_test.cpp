// The fast decoders against the reference decode, bit for bit.

#include "cpu/decode_row.h"

#include "quant/encode.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace greenroom::cpu {
namespace {

void expect_the_bits_of_the_reference(quant::Type type, const std::vector<float>& values) {
    const auto n = static_cast<std::int64_t>(values.size());
    std::vector<std::byte> bytes(static_cast<std::size_t>(quant::row_bytes(type, n)));
    quant::encode_row(type, values.data(), bytes.data(), n);
    std::vector<float> expected(values.size());
    quant::decode_row(type, bytes.data(), expected.data(), n);
    for (const Isa isa : available_isas()) {
        std::vector<float> decoded(values.size());
        find_row_decoder(type, isa)(bytes.data(), decoded.data(), n);
        EXPECT_EQ(decoded, expected) << quant::type_name(type) << " " << isa_name(isa) << " " << n;
    }
}

TEST(DecodeRow, DecodersGiveTheBitsOfTheReference) {
    for (const quant::Type type :
         {quant::Type::F32, quant::Type::F16, quant::Type::BF16, quant::Type::Q8_0, quant::Type::Q4_0})
        for (const std::int64_t n : {32, 64, 96, 576}) {
            auto values = test::random_floats(n, 1);
            values[0] = 1e-7F;  // a denormal half
            expect_the_bits_of_the_reference(type, values);
        }
}

TEST(DecodeRow, FloatDecodersTakeAnyNumberOfValues) {
    for (const quant::Type type : {quant::Type::F16, quant::Type::BF16})
        for (std::int64_t n = 1; n < 40; ++n)
            expect_the_bits_of_the_reference(type, test::random_floats(n, 2));
}

}  // namespace
}  // namespace greenroom::cpu
