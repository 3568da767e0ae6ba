// Latent attention against the plain formula in double.

#include "cpu/attention.h"

#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace greenroom::cpu {
namespace {

struct Case {
    std::int64_t first_position;
    std::int64_t n_tokens;
};

TEST(MlaAttention, IsSoftmaxOfScoresTimesLatents) {
    const MlaShape shape{3, 20, 6, 0.3F};
    constexpr std::int64_t n_rows = 40;
    ThreadTeam team(2);
    const Scratch scratch(team.size(), n_rows);
    const auto cache = test::random_floats(n_rows * shape.row_dim(), 1);
    for (const auto& [first_position, n_tokens] : {Case{0, 1}, Case{0, 17}, Case{39, 1}, Case{30, 10}}) {
        const std::int64_t q_cols = shape.n_heads * shape.row_dim();
        const std::int64_t out_cols = shape.n_heads * shape.latent_dim;
        const auto q = test::random_floats(n_tokens * q_cols, 2);
        std::vector<float> out(static_cast<std::size_t>(n_tokens * out_cols));
        mla_attention(team, scratch, {out.data(), n_tokens, out_cols, out_cols},
                      {q.data(), n_tokens, q_cols, q_cols},
                      {cache.data(), n_rows, shape.row_dim(), shape.row_dim()}, first_position, shape);

        for (std::int64_t t = 0; t < n_tokens; ++t)
            for (std::int64_t h = 0; h < shape.n_heads; ++h) {
                const float* query = &q[static_cast<std::size_t>(t * q_cols + h * shape.row_dim())];
                std::vector<double> weights;
                double sum = 0;
                for (std::int64_t s = 0; s <= first_position + t; ++s) {
                    double score = 0;
                    for (std::int64_t i = 0; i < shape.row_dim(); ++i)
                        score += static_cast<double>(query[i]) *
                                 cache[static_cast<std::size_t>(s * shape.row_dim() + i)];
                    weights.push_back(std::exp(static_cast<double>(shape.scale) * score));
                    sum += weights.back();
                }
                for (std::int64_t i = 0; i < shape.latent_dim; ++i) {
                    double expected = 0;
                    for (std::size_t s = 0; s < weights.size(); ++s)
                        expected += weights[s] / sum *
                                    cache[s * static_cast<std::size_t>(shape.row_dim()) +
                                          static_cast<std::size_t>(i)];
                    EXPECT_NEAR(out[static_cast<std::size_t>(t * out_cols + h * shape.latent_dim + i)],
                                expected, 2e-4);
                }
            }
    }
}

TEST(MlaAttention, LargeScoresDoNotOverflow) {
    const MlaShape shape{1, 2, 0, 1.0F};
    ThreadTeam team(1);
    const Scratch scratch(1, 2);
    const std::vector<float> cache = {300.0F, 1.0F, 100.0F, 5.0F};
    const std::vector<float> q = {10.0F, 0.0F};
    std::vector<float> out(2);
    mla_attention(team, scratch, {out.data(), 1, 2, 2}, {q.data(), 1, 2, 2}, {cache.data(), 2, 2, 2}, 1,
                  shape);
    EXPECT_EQ(out, (std::vector<float>{300.0F, 1.0F}));
}

// Grouped queries against the formula in double, for one way of limiting what a token sees.
void expect_gqa(const GqaShape& shape, const std::vector<float>& sinks) {
    constexpr std::int64_t n_rows = 40;
    const std::int64_t row_cols = shape.key_cols() + shape.value_cols();
    ThreadTeam team(2);
    const Scratch scratch(team.size(), n_rows);
    const auto cache = test::random_floats(n_rows * row_cols, 3);
    for (const auto& [first_position, n_tokens] : {Case{0, 1}, Case{0, 17}, Case{39, 1}, Case{30, 10}}) {
        const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.head_dim;
        const std::int64_t out_cols = std::int64_t{shape.n_heads} * shape.value_dim;
        const auto q = test::random_floats(n_tokens * q_cols, 4);
        std::vector<float> out(static_cast<std::size_t>(n_tokens * out_cols));
        gqa_attention(team, scratch, {out.data(), n_tokens, out_cols, out_cols},
                      {q.data(), n_tokens, q_cols, q_cols}, {cache.data(), n_rows, row_cols, row_cols},
                      first_position, shape, sinks);

        for (std::int64_t t = 0; t < n_tokens; ++t)
            for (std::int64_t h = 0; h < shape.n_heads; ++h) {
                const std::int64_t position = first_position + t;
                const std::int64_t kv_head = h * shape.n_kv_heads / shape.n_heads;
                const float* query = &q[static_cast<std::size_t>(t * q_cols + h * shape.head_dim)];
                const auto key = [&](std::int64_t s) {
                    return &cache[static_cast<std::size_t>(s * row_cols + kv_head * shape.head_dim)];
                };
                const auto value = [&](std::int64_t s) {
                    return &cache[static_cast<std::size_t>(s * row_cols + shape.key_cols() +
                                                           kv_head * shape.value_dim)];
                };
                double sum =
                    sinks.empty() ? 0.0 : std::exp(static_cast<double>(sinks[static_cast<std::size_t>(h)]));
                std::vector<double> expected(static_cast<std::size_t>(shape.value_dim));
                for (std::int64_t s = 0; s <= position; ++s) {
                    if (shape.window > 0 && position - s >= shape.window) continue;
                    if (shape.chunk > 0 && position / shape.chunk != s / shape.chunk) continue;
                    double score = 0;
                    for (std::int64_t i = 0; i < shape.head_dim; ++i)
                        score += static_cast<double>(query[i]) * key(s)[i];
                    const double weight = std::exp(static_cast<double>(shape.scale) * score);
                    sum += weight;
                    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += weight * value(s)[i];
                }
                for (std::size_t i = 0; i < expected.size(); ++i)
                    EXPECT_NEAR(out[static_cast<std::size_t>(t * out_cols + h * shape.value_dim) + i],
                                expected[i] / sum, 2e-4);
            }
    }
}

TEST(GqaAttention, HeadsShareKeysAndValues) { expect_gqa({6, 2, 12, 10, 0.3F}, {}); }

TEST(GqaAttention, SinksTakeAPartOfTheWeight) { expect_gqa({4, 2, 12, 12, 0.3F}, {2.0F, -3.0F, 0.0F, 9.0F}); }

TEST(GqaAttention, WindowLimitsTheViewBackwards) {
    expect_gqa({4, 4, 8, 8, 0.3F, 7}, {});
    expect_gqa({4, 4, 8, 8, 0.3F, 1}, {});
}

TEST(GqaAttention, ChunksDoNotSeeEachOther) { expect_gqa({4, 1, 8, 8, 0.3F, 0, 16}, {}); }

}  // namespace
}  // namespace greenroom::cpu
