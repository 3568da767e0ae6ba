// Rows of the KV cache, written on the GPU: the same bytes as on the CPU.

#include "gpu/kernels/kv_rows.h"

#include "cpu/kv_rows.h"
#include "quant/types.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/device_cache.h"
#include "tests/gpu/lane_orders.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::random_floats;
using quant::Type;
using test::DeviceArray;

class StoreRowsTest : public test::GpuTest {
  protected:
    // Stores the rows at first_position in a cache of n_rows, on both.
    void expect_same_bytes(Type type, std::int64_t n_rows, std::int64_t first_position, std::int64_t n_tokens,
                           const std::vector<float>& values, int n_heads = 1) {
        Stream stream;
        const std::int64_t n_columns = static_cast<std::int64_t>(values.size()) / n_tokens;
        const test::DeviceCache cache(stream, type, n_rows, n_columns / n_heads, {}, n_heads);
        cpu::ThreadTeam team(1);
        cpu::store_rows(team, cache.host(), first_position, {values.data(), n_tokens, n_columns, n_columns});
        const DeviceArray<float> from(stream, values);
        const auto step = test::step_at(stream, first_position);
        store_rows(stream, cache.device(), step.data(), from.matrix(n_tokens, n_columns));
        std::vector<std::byte> actual(static_cast<std::size_t>(n_heads * n_rows * cache.host().row_bytes));
        copy_to_host(stream, actual.data(), cache.device().data, static_cast<std::int64_t>(actual.size()));
        stream.synchronize();
        const std::vector<std::byte> expected(cache.host().data, cache.host().data + actual.size());
        EXPECT_EQ(actual, expected) << static_cast<unsigned>(type);
    }
};

TEST_P(StoreRowsTest, WritesTheSameBytesInEveryType) {
    for (const Type type : {Type::F32, Type::F16, Type::BF16, Type::Q8_0, Type::Q4_0})
        expect_same_bytes(type, 7, 2, 3, random_floats(3 * 160, 21));
}

TEST_P(StoreRowsTest, EachHeadHasRowsOfItsOwn) {
    for (const Type type : {Type::F32, Type::F16, Type::BF16, Type::Q8_0, Type::Q4_0})
        expect_same_bytes(type, 5, 3, 4, random_floats(4 * 3 * 96, 25), 3);
    expect_same_bytes(Type::F16, 5, 3, 4, random_floats(4 * 5 * 37, 26), 5);
}

TEST_P(StoreRowsTest, OfFloatsRowsMayHaveAnyLength) {
    for (const Type type : {Type::F32, Type::F16, Type::BF16})
        expect_same_bytes(type, 3, 0, 2, random_floats(2 * 37, 22));
}

TEST_P(StoreRowsTest, ARingBeginsAgain) {
    for (const Type type : {Type::F32, Type::Q8_0}) {
        expect_same_bytes(type, 5, 13, 4, random_floats(4 * 64, 23));
        expect_same_bytes(type, 5, 100004, 5, random_floats(5 * 64, 24));
    }
}

TEST_P(StoreRowsTest, PeaksOfBothSignsTiesZerosAndWhatBlocksCannotHold) {
    constexpr float kInf = std::numeric_limits<float>::infinity();
    constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
    std::vector<float> values;
    const auto add_block = [&](auto value_of) {
        for (int i = 0; i < 32; ++i) values.push_back(value_of(i));
    };
    add_block([](int) { return 0.0F; });
    add_block([](int) { return 1.0F; });
    add_block([](int i) { return i % 2 == 0 ? -3.0F : 3.0F; });  // the first peak decides the sign
    add_block([](int i) { return i % 2 == 1 ? -3.0F : 3.0F; });
    add_block([](int i) { return static_cast<float>(i - 16) * 0.5F; });
    add_block([](int i) { return static_cast<float>(i) * 1e-42F; });
    add_block([](int i) { return static_cast<float>(i) * 1e36F; });
    add_block([&](int i) { return i == 5 ? kInf : 1.0F; });
    add_block([&](int i) { return i == 31 ? -kNan : 1.0F; });
    add_block([](int i) { return 127.0F - static_cast<float>(i) * 2.5F; });  // halves: to the even one
    for (const Type type : {Type::F32, Type::F16, Type::BF16, Type::Q8_0, Type::Q4_0})
        expect_same_bytes(type, 1, 0, 1, values);
}

GR_RUN_IN_LANE_ORDERS(StoreRowsTest);

}  // namespace
}  // namespace greenroom::gpu
