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

}  // namespace
}  // namespace greenroom::cpu
