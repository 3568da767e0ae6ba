// The most likely tokens of a row, against a sort of all.

#include "gpu/kernels/top_candidates.h"

#include "tests/gpu/device_array.h"
#include "tests/gpu/lane_orders.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::random_floats;
using test::DeviceArray;

class TopCandidatesTest : public test::GpuTest {
  protected:
    static void expect_highest(const std::vector<float>& logits, std::size_t k) {
        std::vector<std::int32_t> expected(logits.size());
        std::iota(expected.begin(), expected.end(), 0);
        const auto at = [&](std::int32_t id) { return logits[static_cast<std::size_t>(id)]; };
        std::stable_sort(expected.begin(), expected.end(), [&](std::int32_t a, std::int32_t b) {
            return std::isnan(at(b)) ? !std::isnan(at(a)) : at(a) > at(b);
        });
        expected.resize(k, -1);

        Stream stream;
        const DeviceArray<float> device_logits(stream, logits);
        const DeviceArray<std::int32_t> ids(stream, k);
        const DeviceArray<float> values(stream, k);
        const DeviceArray<std::uint64_t> scratch(
            stream, static_cast<std::size_t>(top_candidates_scratch(static_cast<std::int64_t>(logits.size()),
                                                                    static_cast<int>(k))));
        top_candidates(stream, {ids.data(), k}, {values.data(), k}, {device_logits.data(), logits.size()},
                       {scratch.data(), scratch.size()});
        EXPECT_EQ(ids.download(), expected);
        const auto actual = values.download();
        for (std::size_t i = 0; i < k; ++i) {
            if (expected[i] < 0 || std::isnan(at(expected[i])))
                EXPECT_TRUE(std::isnan(actual[i])) << i;
            else
                EXPECT_EQ(actual[i], at(expected[i])) << i;
        }
    }
};

TEST_P(TopCandidatesTest, AreTheHighestInOrder) {
    expect_highest({3.0F}, 1);
    expect_highest(random_floats(100, 95), 40);
    expect_highest(random_floats(2049, 96), 1);
    expect_highest(random_floats(5000, 97), 256);
}

TEST_P(TopCandidatesTest, SeveralPassesOverALargeVocabulary) {
    expect_highest(random_floats(20000, 98), 256);
}

TEST_P(TopCandidatesTest, EqualOnesByIdZerosAlikeAndBrokenOnesLast) {
    expect_highest(std::vector<float>(3000, 1.5F), 20);
    constexpr float kInf = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    expect_highest({-kInf, 0.0F, nan, -0.0F, kInf, 0.0F, -nan, -1.0F, 1e-45F, -1e-45F}, 10);
    expect_highest({1.0F, nan, 2.0F}, 7);  // fewer than are asked for
}

GR_RUN_IN_LANE_ORDERS(TopCandidatesTest);

}  // namespace
}  // namespace greenroom::gpu
