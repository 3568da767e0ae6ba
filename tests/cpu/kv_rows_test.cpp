// Rows of cached keys and values.

#include "cpu/kv_rows.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <vector>

namespace greenroom::cpu {
namespace {

TEST(KvRows, ARingKeepsTheNewestRows) {
    std::vector<float> memory(3 * 2);
    const KvRows rows{reinterpret_cast<std::byte*>(memory.data()), quant::Type::F32, 3, 2, 8};
    const std::vector<float> values = {0, 0.5F, 1, 1.5F, 2, 2.5F};
    store_rows(rows, 0, {values.data(), 3, 2, 2});
    const std::vector<float> more = {3, 3.5F, 4, 4.5F};
    store_rows(rows, 3, {more.data(), 2, 2, 2});
    EXPECT_EQ(memory, (std::vector<float>{3, 3.5F, 4, 4.5F, 2, 2.5F}));
}

TEST(KvRows, TheRowsOfAHeadLieTogether) {
    std::vector<float> memory(2 * 3 * 2);
    const KvRows rows{reinterpret_cast<std::byte*>(memory.data()), quant::Type::F32, 3, 2, 8, 2};
    // Positions 2 and 3, of which the second comes back to the ring's beginning.
    const std::vector<float> values = {20, 21, 120, 121, 30, 31, 130, 131};
    store_rows(rows, 2, {values.data(), 2, 4, 4});
    EXPECT_EQ(memory, (std::vector<float>{30, 31, 0, 0, 20, 21, 130, 131, 0, 0, 120, 121}));
    EXPECT_EQ(rows.row(3, 1), reinterpret_cast<std::byte*>(memory.data() + 6));
}

}  // namespace
}  // namespace greenroom::cpu
