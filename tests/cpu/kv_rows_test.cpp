// Rows of cached keys and values.

#include "cpu/kv_rows.h"

#include "quant/types.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace greenroom::cpu {
namespace {

TEST(KvRows, ARingKeepsTheNewestRows) {
    ThreadTeam team(1);
    std::vector<float> memory(3 * 2);
    const KvRows rows{reinterpret_cast<std::byte*>(memory.data()), quant::Type::F32, 3, 2, 8};
    const std::vector<float> values = {0, 0.5F, 1, 1.5F, 2, 2.5F};
    store_rows(team, rows, 0, {values.data(), 3, 2, 2});
    const std::vector<float> more = {3, 3.5F, 4, 4.5F};
    store_rows(team, rows, 3, {more.data(), 2, 2, 2});
    EXPECT_EQ(memory, (std::vector<float>{3, 3.5F, 4, 4.5F, 2, 2.5F}));
}

TEST(KvRows, TheRowsOfAHeadLieTogether) {
    ThreadTeam team(1);
    std::vector<float> memory(2 * 3 * 2);
    const KvRows rows{reinterpret_cast<std::byte*>(memory.data()), quant::Type::F32, 3, 2, 8, 2};
    // Positions 2 and 3, of which the second comes back to the ring's beginning.
    const std::vector<float> values = {20, 21, 120, 121, 30, 31, 130, 131};
    store_rows(team, rows, 2, {values.data(), 2, 4, 4});
    EXPECT_EQ(memory, (std::vector<float>{30, 31, 0, 0, 20, 21, 130, 131, 0, 0, 120, 121}));
    EXPECT_EQ(rows.row(3, 1), reinterpret_cast<std::byte*>(memory.data() + 6));
}

TEST(KvRows, ThreadsShareTheTokensOut) {
    constexpr std::int64_t kTokens = 300;
    constexpr std::int64_t kValues = 64;
    const auto values = test::random_floats(kTokens * 2 * kValues, 7);
    const auto stored_by = [&](int n_threads) {
        ThreadTeam team(n_threads);
        const std::int64_t row_bytes = quant::row_bytes(quant::Type::F16, kValues);
        std::vector<std::byte> memory(static_cast<std::size_t>(2 * kTokens * row_bytes));
        const KvRows rows{memory.data(), quant::Type::F16, kTokens, kValues, row_bytes, 2};
        store_rows(team, rows, 17, {values.data(), kTokens, 2 * kValues, 2 * kValues});
        return memory;
    };
    EXPECT_EQ(stored_by(3), stored_by(1));
}

}  // namespace
}  // namespace greenroom::cpu
