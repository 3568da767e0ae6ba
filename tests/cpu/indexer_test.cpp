// The indexer's choice against the formula in double and a full sort.

#include "cpu/indexer.h"

#include "cpu/kv_rows.h"
#include "quant/decode.h"
#include "quant/encode.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

namespace greenroom::cpu {
namespace {

constexpr std::int64_t kHeads = 3;
constexpr std::int64_t kHeadDim = 32;
constexpr std::int64_t kRows = 40;

// The choice for tokens at first_position and later, for these keys.
std::vector<std::int32_t> choose(std::vector<float> keys, const std::vector<float>& q,
                                 const std::vector<float>& weights, std::int64_t first_position,
                                 std::int64_t top_k) {
    ThreadTeam team(2);
    const Scratch scratch(team.size(), indexer_scratch_floats(kRows, kHeadDim));
    const auto n_tokens = static_cast<std::int64_t>(weights.size()) / kHeads;
    const KvRows rows{reinterpret_cast<std::byte*>(keys.data()), quant::Type::F32, kRows, kHeadDim,
                      kHeadDim * 4};
    std::vector<std::int32_t> visible(static_cast<std::size_t>(n_tokens * top_k));
    index_positions(team, scratch, visible, {q.data(), n_tokens, kHeads * kHeadDim, kHeads * kHeadDim},
                    {weights.data(), n_tokens, kHeads, kHeads}, rows, first_position, top_k);
    return visible;
}

TEST(Indexer, ChoosesThePositionsOfTheHighestScores) {
    constexpr std::int64_t kTokens = 5;
    constexpr std::int64_t kTopK = 12;
    const auto keys = test::random_floats(kRows * kHeadDim, 1);
    const auto q = test::random_floats(kTokens * kHeads * kHeadDim, 2);
    const auto weights = test::random_floats(kTokens * kHeads, 3);
    for (const std::int64_t first : {0, 10, 35}) {
        const auto visible = choose(keys, q, weights, first, kTopK);
        for (std::int64_t t = 0; t < kTokens; ++t) {
            std::vector<double> scores;
            for (std::int64_t s = 0; s <= first + t; ++s) {
                double score = 0;
                for (std::int64_t h = 0; h < kHeads; ++h) {
                    double dot = 0;
                    for (std::int64_t i = 0; i < kHeadDim; ++i)
                        dot += static_cast<double>(
                                   q[static_cast<std::size_t>((t * kHeads + h) * kHeadDim + i)]) *
                               static_cast<double>(keys[static_cast<std::size_t>(s * kHeadDim + i)]);
                    score += static_cast<double>(weights[static_cast<std::size_t>(t * kHeads + h)]) *
                             std::max(0.0, dot);
                }
                scores.push_back(score);
            }
            std::vector<std::int32_t> expected(scores.size());
            std::iota(expected.begin(), expected.end(), 0);
            std::stable_sort(expected.begin(), expected.end(), [&](std::int32_t a, std::int32_t b) {
                return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
            });
            expected.resize(std::min<std::size_t>(expected.size(), kTopK));
            std::sort(expected.begin(), expected.end());
            expected.resize(kTopK, -1);
            EXPECT_TRUE(std::equal(expected.begin(), expected.end(), visible.begin() + t * kTopK))
                << "first position " << first << ", token " << t;
        }
    }
}

TEST(Indexer, OfEqualScoresTheEarliestAreTaken) {
    const std::vector<float> keys(kRows * kHeadDim, 1.0F);
    const std::vector<float> q(kHeads * kHeadDim, 1.0F);
    EXPECT_EQ(choose(keys, q, {1, 1, 1}, 30, 4), (std::vector<std::int32_t>{0, 1, 2, 3}));
    EXPECT_EQ(choose(keys, q, {-1, -1, -1}, 30, 4), (std::vector<std::int32_t>{0, 1, 2, 3}));
}

TEST(Indexer, NanScoresComeLast) {
    std::vector<float> keys(kRows * kHeadDim, 1.0F);
    std::fill_n(keys.begin(), 20 * kHeadDim, std::numeric_limits<float>::quiet_NaN());
    const std::vector<float> q(kHeads * kHeadDim, 1.0F);
    // max(0, NaN) is 0 or NaN by the order of its arguments; either way the others win.
    EXPECT_EQ(choose(keys, q, {1, 1, 1}, 30, 4), (std::vector<std::int32_t>{20, 21, 22, 23}));
}

// More heads than a tile, positions that are no whole block, keys of the types that a cache has.
class IndexerOf : public testing::TestWithParam<quant::Type> {
  protected:
    static constexpr std::int64_t kHeads = 70;
    static constexpr std::int64_t kHeadDim = 64;
    static constexpr std::int64_t kFirst = 290;
    static constexpr std::int64_t kTokens = 4;
    static constexpr std::int64_t kTopK = 40;
    static constexpr std::int64_t kRows = kFirst + kTokens;

    // The choice for tokens [first, first + n).
    std::vector<std::int32_t> choose(int n_threads, std::int64_t first, std::int64_t n) {
        ThreadTeam team(n_threads);
        const Scratch scratch(team.size(), indexer_scratch_floats(kRows, kHeadDim));
        std::vector<std::int32_t> visible(static_cast<std::size_t>(n * kTopK));
        index_positions(team, scratch, visible,
                        {&q[index(first, kHeads * kHeadDim)], n, kHeads * kHeadDim, kHeads * kHeadDim},
                        {&weights[index(first, kHeads)], n, kHeads, kHeads}, rows, kFirst + first, kTopK);
        return visible;
    }

    static std::size_t index(std::int64_t row, std::int64_t n_cols, std::int64_t col = 0) {
        return static_cast<std::size_t>(row * n_cols + col);
    }

    const std::vector<float> keys = test::random_floats(kRows * kHeadDim, 1);
    const std::vector<float> q = test::random_floats(kTokens * kHeads * kHeadDim, 2);
    const std::vector<float> weights = test::random_floats(kTokens * kHeads, 3);
    const std::int64_t row_bytes = quant::row_bytes(GetParam(), kHeadDim);
    std::vector<std::byte> bytes = std::vector<std::byte>(static_cast<std::size_t>(kRows * row_bytes));
    const KvRows rows{bytes.data(), GetParam(), kRows, kHeadDim, row_bytes};

    void SetUp() override {
        for (std::int64_t r = 0; r < kRows; ++r)
            quant::encode_row(GetParam(), &keys[index(r, kHeadDim)], &bytes[index(r, row_bytes)], kHeadDim);
    }
};

TEST_P(IndexerOf, NothingScoresHigherThanWhatIsChosen) {
    std::vector<float> decoded(keys.size());
    for (std::int64_t r = 0; r < kRows; ++r)
        quant::decode_row(GetParam(), &bytes[index(r, row_bytes)], &decoded[index(r, kHeadDim)], kHeadDim);
    const auto visible = choose(1, 0, kTokens);
    for (std::int64_t t = 0; t < kTokens; ++t) {
        std::vector<double> scores;
        double magnitude = 0;
        for (std::int64_t s = 0; s <= kFirst + t; ++s) {
            double score = 0;
            for (std::int64_t h = 0; h < kHeads; ++h) {
                double dot = 0;
                for (std::int64_t i = 0; i < kHeadDim; ++i)
                    dot += static_cast<double>(q[index(t, kHeads * kHeadDim, h * kHeadDim + i)]) *
                           static_cast<double>(decoded[index(s, kHeadDim, i)]);
                score += static_cast<double>(weights[index(t, kHeads, h)]) * std::max(0.0, dot);
            }
            scores.push_back(score);
            magnitude = std::max(magnitude, std::abs(score));
        }
        std::vector<bool> chosen(scores.size());
        double lowest = std::numeric_limits<double>::infinity();
        for (std::int64_t i = 0; i < kTopK; ++i) {
            const std::int32_t s = visible[index(t, kTopK, i)];
            ASSERT_TRUE(s >= 0 && s <= kFirst + t);
            EXPECT_TRUE(i == 0 || visible[index(t, kTopK, i - 1)] < s);
            chosen[static_cast<std::size_t>(s)] = true;
            lowest = std::min(lowest, scores[static_cast<std::size_t>(s)]);
        }
        for (std::size_t s = 0; s < scores.size(); ++s)
            EXPECT_TRUE(chosen[s] || scores[s] <= lowest + 1e-4 * magnitude)
                << "token " << t << " position " << s;
    }
}

TEST_P(IndexerOf, AnyBatchAndNumberOfThreadsChoosesTheSame) {
    const auto together = choose(1, 0, kTokens);
    EXPECT_EQ(choose(3, 0, kTokens), together);
    EXPECT_EQ(choose(7, 0, kTokens), together);
    for (std::int64_t t = 0; t < kTokens; ++t) {
        const std::vector<std::int32_t> expected(together.begin() + t * kTopK,
                                                 together.begin() + (t + 1) * kTopK);
        EXPECT_EQ(choose(1, t, 1), expected);
        EXPECT_EQ(choose(3, t, 1), expected);
    }
}

INSTANTIATE_TEST_SUITE_P(Type, IndexerOf,
                         testing::Values(quant::Type::F32, quant::Type::F16, quant::Type::Q8_0,
                                         quant::Type::Q4_0),
                         [](const auto& param) { return std::string(quant::type_name(param.param)); });

}  // namespace
}  // namespace greenroom::cpu
