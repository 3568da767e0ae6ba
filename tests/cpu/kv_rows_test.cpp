// The fast decoders of cached rows against the reference decode, bit for bit.

#include "cpu/kv_rows.h"

#include "quant/encode.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace greenroom::cpu {
namespace {

TEST(KvRows, DecodersGiveTheBitsOfTheReference) {
    for (const quant::Type type :
         {quant::Type::F32, quant::Type::F16, quant::Type::BF16, quant::Type::Q8_0, quant::Type::Q4_0})
        for (const std::int64_t n : {32, 64, 96, 576}) {
            auto values = test::random_floats(n, 1);
            values[0] = 1e-7F;  // a denormal half
            std::vector<std::byte> bytes(static_cast<std::size_t>(quant::row_bytes(type, n)));
            quant::encode_row(type, values.data(), bytes.data(), n);
            std::vector<float> expected(values.size());
            quant::decode_row(type, bytes.data(), expected.data(), n);
            for (const Isa isa : available_isas()) {
                std::vector<float> decoded(values.size());
                find_kv_decoder(type, isa)(bytes.data(), decoded.data(), n);
                EXPECT_EQ(decoded, expected) << quant::type_name(type) << " " << isa_name(isa) << " " << n;
            }
        }
}

TEST(KvRows, FloatDecodersTakeAnyNumberOfValues) {
    for (const quant::Type type : {quant::Type::F16, quant::Type::BF16})
        for (std::int64_t n = 1; n < 40; ++n) {
            const auto values = test::random_floats(n, 2);
            std::vector<std::byte> bytes(static_cast<std::size_t>(quant::row_bytes(type, n)));
            quant::encode_row(type, values.data(), bytes.data(), n);
            std::vector<float> expected(values.size());
            quant::decode_row(type, bytes.data(), expected.data(), n);
            for (const Isa isa : available_isas()) {
                std::vector<float> decoded(values.size());
                find_kv_decoder(type, isa)(bytes.data(), decoded.data(), n);
                EXPECT_EQ(decoded, expected) << quant::type_name(type) << " " << isa_name(isa) << " " << n;
            }
        }
}

TEST(KvRows, ARingKeepsTheNewestRows) {
    std::vector<float> memory(3 * 2);
    const KvRows rows{reinterpret_cast<std::byte*>(memory.data()), quant::Type::F32, 3, 2, 8};
    const std::vector<float> values = {0, 0.5F, 1, 1.5F, 2, 2.5F};
    store_rows(rows, 0, {values.data(), 3, 2, 2});
    const std::vector<float> more = {3, 3.5F, 4, 4.5F};
    store_rows(rows, 3, {more.data(), 2, 2, 2});
    EXPECT_EQ(memory, (std::vector<float>{3, 3.5F, 4, 4.5F, 2, 2.5F}));
}

}  // namespace
}  // namespace greenroom::cpu
