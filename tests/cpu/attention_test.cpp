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

}  // namespace
}  // namespace greenroom::cpu
