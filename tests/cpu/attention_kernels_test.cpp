// The kernels of attention against their scalar reference, on every ISA of this CPU and in awkward sizes.

#include "cpu/attention_kernels.h"

#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <cfloat>
#include <cmath>
#include <set>
#include <vector>

namespace greenroom::cpu {
namespace {

constexpr auto kBlock = static_cast<std::size_t>(kBlockPositions);

class AttentionKernelsOf : public testing::TestWithParam<Isa> {
  protected:
    const AttentionKernels& k = attention_kernels(GetParam());
    const AttentionKernels& reference = attention_kernels(Isa::scalar);
};

std::vector<const float*> rows_of(const std::vector<float>& values, int n, std::int64_t stride) {
    std::vector<const float*> rows(static_cast<std::size_t>(n));
    for (std::size_t j = 0; j < rows.size(); ++j)
        rows[j] = values.data() + static_cast<std::int64_t>(j) * stride;
    return rows;
}

TEST_P(AttentionKernelsOf, PackKeysTurnsSixteenRowsAround) {
    for (const std::int64_t n_values : {1, 4, 6, 33, 128}) {
        const std::int64_t stride = n_values + 5;
        const auto rows = test::random_floats(kPackedRows * stride, 1);
        std::vector<float> keys(static_cast<std::size_t>((n_values + 3) * kBlockPositions), 7.0F);
        k.pack_keys(keys.data() + 16, rows.data(), stride, n_values);
        for (std::int64_t i = 0; i < n_values; ++i)
            for (std::int64_t s = 0; s < kBlockPositions; ++s) {
                const bool packed = s >= 16 && s < 32;
                EXPECT_EQ(keys[static_cast<std::size_t>(i * kBlockPositions + s)],
                          packed ? rows[static_cast<std::size_t>((s - 16) * stride + i)] : 7.0F);
            }
    }
}

// n · 2^-24 · Σ|a·b| bounds the rounding of any order of summation in float32.
TEST_P(AttentionKernelsOf, ScoresAreTheReferencesForAnyNumberOfQueries) {
    LinesAhead ahead;
    for (const std::int64_t n_values : {1, 63, 64, 80, 130})
        for (const int n_queries : {1, 2, 3, 5, 6, 7, 8, 13, 64}) {
            const auto q = test::random_floats(n_queries * n_values, 2);
            const auto keys = test::random_floats(n_values * kBlockPositions, 3);
            const auto queries = rows_of(q, n_queries, n_values);
            std::vector<float> scores(static_cast<std::size_t>(n_queries) * kBlock);
            auto expected = scores;
            k.score(scores.data(), queries.data(), n_queries, keys.data(), n_values, ahead);
            reference.score(expected.data(), queries.data(), n_queries, keys.data(), n_values, ahead);
            for (std::size_t j = 0; j < scores.size(); ++j) {
                double magnitude = 0;
                for (std::int64_t i = 0; i < n_values; ++i)
                    magnitude += std::abs(
                        static_cast<double>(queries[j / kBlock][i]) *
                        static_cast<double>(keys[static_cast<std::size_t>(i) * kBlock + j % kBlock]));
                ASSERT_NEAR(scores[j], expected[j],
                            static_cast<double>(n_values + 1) * std::ldexp(magnitude, -24));
            }
        }
}

TEST_P(AttentionKernelsOf, AQuerysNumbersDoNotDependOnTheOthers) {
    LinesAhead ahead;
    constexpr std::int64_t kValues = 96;
    constexpr std::int64_t kStride = 112;
    const auto q = test::random_floats(kTileQueries * kValues, 4);
    const auto keys = test::random_floats(kValues * kBlockPositions, 5);
    const auto values = test::random_floats(kBlockPositions * kStride, 6);
    const auto queries = rows_of(q, kTileQueries, kValues);
    std::vector<float> scores(kTileQueries * kBlock);
    k.score(scores.data(), queries.data(), kTileQueries, keys.data(), kValues, ahead);
    const std::vector<float> factors(kTileQueries, 0.5F);
    const BlockRange range{3, 62};
    std::vector<float> out(kTileQueries * kValues, 1.0F);
    k.accumulate(out.data(), kValues, factors.data(), kTileQueries, scores.data(), values.data(), kStride,
                 range, kValues, ahead);
    for (std::size_t j = 0; j < kTileQueries; ++j) {
        std::vector<float> alone(kBlock);
        k.score(alone.data(), &queries[j], 1, keys.data(), kValues, ahead);
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), &scores[j * kBlock]));
        std::vector<float> result(kValues, 1.0F);
        k.accumulate(result.data(), kValues, &factors[j], 1, alone.data(), values.data(), kStride, range,
                     kValues, ahead);
        EXPECT_TRUE(std::equal(result.begin(), result.end(), &out[j * kValues]));
    }
}

TEST_P(AttentionKernelsOf, WeighsWhatAQuerySeesAndNothingElse) {
    const std::vector<BlockRange> ranges = {{0, 64}, {0, 1}, {63, 64}, {15, 17}, {16, 48}, {20, 20}, {0, 33}};
    const auto n = ranges.size();
    auto scores = test::random_floats(static_cast<std::int64_t>(n) * kBlockPositions, 7, 8.0F);
    scores[6 * kBlock + 5] = -1e4F;  // so far below that its weight vanishes
    auto expected = scores;
    // Nothing so far, something less, something more, …
    std::vector<float> maximums = {-FLT_MAX, -FLT_MAX, -1.0F, 400.0F, 2.0F, 3.0F, 1.0F};
    std::vector<float> sums = {0.0F, 0.0F, 2.0F, 1.5F, 1.0F, 4.0F, 1.0F};
    std::vector<float> factors(n, 9.0F);
    auto expected_maximums = maximums;
    auto expected_sums = sums;
    auto expected_factors = factors;
    k.weigh(scores.data(), ranges.data(), static_cast<int>(n), 0.25F, maximums.data(), sums.data(),
            factors.data());
    reference.weigh(expected.data(), ranges.data(), static_cast<int>(n), 0.25F, expected_maximums.data(),
                    expected_sums.data(), expected_factors.data());
    EXPECT_EQ(maximums, expected_maximums);
    for (std::size_t j = 0; j < n; ++j) {
        EXPECT_NEAR(sums[j], expected_sums[j], 1e-6 * expected_sums[j]);
        EXPECT_NEAR(factors[j], expected_factors[j], 1e-6 * expected_factors[j]);
        for (std::size_t s = j * kBlock; s < (j + 1) * kBlock; ++s)
            EXPECT_NEAR(scores[s], expected[s], 1e-6 * std::abs(expected[s]));
    }
    EXPECT_EQ(scores[kBlock + 1], 0.0F);
    EXPECT_EQ(scores[6 * kBlock + 5], 0.0F);
}

TEST_P(AttentionKernelsOf, ResultsAreTheReferencesForAnyNumberOfQueriesAndAnyRange) {
    LinesAhead ahead;
    for (const std::int64_t n_values : {17, 32, 80, 96, 128, 160})
        for (const int n_queries : {1, 2, 4, 6, 9, 64})
            for (const BlockRange range : {BlockRange{0, 64}, BlockRange{5, 6}, BlockRange{0, 63}}) {
                const std::int64_t width = (n_values + kValueStep - 1) / kValueStep * kValueStep;
                const auto weights = test::random_floats(n_queries * kBlockPositions, 8);
                const auto values = test::random_floats(kBlockPositions * width, 9);
                const auto factors = test::random_floats(n_queries, 10);
                auto out = test::random_floats(n_queries * width, 11);
                auto expected = out;
                k.accumulate(out.data(), width, factors.data(), n_queries, weights.data(), values.data(),
                             width, range, n_values, ahead);
                reference.accumulate(expected.data(), width, factors.data(), n_queries, weights.data(),
                                     values.data(), width, range, n_values, ahead);
                for (int j = 0; j < n_queries; ++j)
                    for (std::int64_t i = 0; i < n_values; ++i)
                        // 64 products of numbers that are at most some 60.
                        ASSERT_NEAR(out[static_cast<std::size_t>(j * width + i)],
                                    expected[static_cast<std::size_t>(j * width + i)], 2e-2);
            }
}

// The lines that loops of n_steps ask for, counted from `data` on.
std::set<std::int64_t> lines_of(LinesAhead ahead, const std::byte* data, std::int64_t n_steps) {
    std::set<std::int64_t> lines;
    while (!ahead.empty()) {
        const LinesAhead::Lines some = ahead.take(n_steps);
        for (std::int64_t i = 0; i < n_steps; ++i) lines.insert((some[i] - data) / 64);
    }
    return lines;
}

TEST(LinesAhead, LoopsOfAnyLengthAskForAllLinesThatWereAdded) {
    const std::vector<std::byte> memory(64 * 400);
    for (const std::int64_t n_steps : {1, 7, 16, 64}) {
        LinesAhead neighbours;
        neighbours.add(memory.data(), 64 * 100 - 5);
        const auto lines = lines_of(neighbours, memory.data(), n_steps);
        for (std::int64_t line = 0; line < 100; ++line) EXPECT_TRUE(lines.contains(line)) << line;
        EXPECT_LE(*lines.rbegin(), 100);

        LinesAhead rows;
        rows.add(memory.data(), 136, 12, 64 * 9);
        const auto of_rows = lines_of(rows, memory.data(), n_steps);
        for (std::int64_t row = 0; row < 12; ++row)
            for (std::int64_t line = 0; line < 3; ++line) EXPECT_TRUE(of_rows.contains(9 * row + line));
    }
}

// Neither more lanes nor their order make a difference.
TEST(AttentionKernels, Avx2AndAvx512GiveTheSameBits) {
    LinesAhead ahead;
    if (vectors_of(available_isas().back()) != Isa::avx512) GTEST_SKIP() << "no AVX-512";
    constexpr std::int64_t kValues = 96;
    constexpr int kQueries = 11;
    const auto q = test::random_floats(kQueries * kValues, 12);
    const auto rows = test::random_floats(kBlockPositions * kValues, 13);
    const auto queries = rows_of(q, kQueries, kValues);
    std::vector<BlockRange> ranges(kQueries, {0, 64});
    ranges[3] = {7, 41};
    std::vector<std::vector<float>> results;
    for (const Isa isa : {Isa::avx2, Isa::avx512}) {
        const AttentionKernels& k = attention_kernels(isa);
        std::vector<float> keys(kValues * kBlock);
        for (int r = 0; r < kBlockPositions; r += kPackedRows)
            k.pack_keys(keys.data() + r, rows.data() + r * kValues, kValues, kValues);
        std::vector<float> scores(kQueries * kBlock);
        k.score(scores.data(), queries.data(), kQueries, keys.data(), kValues, ahead);
        std::vector<float> maximums(kQueries, 1.0F);
        std::vector<float> sums(kQueries, 1.0F);
        std::vector<float> factors(kQueries);
        k.weigh(scores.data(), ranges.data(), kQueries, 0.1F, maximums.data(), sums.data(), factors.data());
        std::vector<float> out(kQueries * kValues, 1.0F);
        k.accumulate(out.data(), kValues, factors.data(), kQueries, scores.data(), rows.data(), kValues,
                     {0, 64}, kValues, ahead);
        for (const auto* part : {&scores, &maximums, &sums, &factors})
            out.insert(out.end(), part->begin(), part->end());
        results.push_back(out);
    }
    EXPECT_EQ(results[0], results[1]);
}

INSTANTIATE_TEST_SUITE_P(Isa, AttentionKernelsOf, testing::ValuesIn(available_isas()),
                         [](const auto& param) { return std::string(isa_name(param.param)); });

}  // namespace
}  // namespace greenroom::cpu
