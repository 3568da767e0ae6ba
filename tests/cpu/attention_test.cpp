// Attention against the plain formula in double; what is the same whatever the cache's type, ring and batch.

#include "cpu/attention.h"

#include "cpu/kv_rows.h"
#include "quant/decode.h"
#include "quant/encode.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace greenroom::cpu {
namespace {

// Cached rows of their own, filled from floats; a ring where n_rows is less than n_positions.
class Cache {
  public:
    Cache(quant::Type type, std::int64_t n_rows, std::int64_t n_values)
        : rows_{nullptr, type, n_rows, n_values, quant::row_bytes(type, n_values)},
          bytes_(static_cast<std::size_t>(n_rows * rows_.row_bytes)) {
        rows_.data = bytes_.data();
    }

    void store(std::int64_t first_position, const float* values, std::int64_t n) {
        store_rows(rows_, first_position, {values, n, rows_.n_values, rows_.n_values});
    }
    const KvRows& rows() const { return rows_; }

  private:
    KvRows rows_;
    std::vector<std::byte> bytes_;
};

struct Case {
    std::int64_t first_position;
    std::int64_t n_tokens;
};

TEST(MlaAttention, IsSoftmaxOfScoresTimesLatents) {
    const MlaShape shape{3, 20, 6, 0.3F};
    constexpr std::int64_t n_rows = 40;
    ThreadTeam team(2);
    const Scratch scratch(team.size(), attention_scratch_floats(n_rows, shape.row_dim()));
    const auto cache = test::random_floats(n_rows * shape.row_dim(), 1);
    Cache rows(quant::Type::F32, n_rows, shape.row_dim());
    rows.store(0, cache.data(), n_rows);
    for (const auto& [first_position, n_tokens] : {Case{0, 1}, Case{0, 17}, Case{39, 1}, Case{30, 10}}) {
        const std::int64_t q_cols = shape.n_heads * shape.row_dim();
        const std::int64_t out_cols = shape.n_heads * shape.latent_dim;
        const auto q = test::random_floats(n_tokens * q_cols, 2);
        std::vector<float> out(static_cast<std::size_t>(n_tokens * out_cols));
        mla_attention(team, scratch, {out.data(), n_tokens, out_cols, out_cols},
                      {q.data(), n_tokens, q_cols, q_cols}, rows.rows(), first_position, shape);

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
    const Scratch scratch(1, attention_scratch_floats(2, 2));
    const std::vector<float> values = {300.0F, 1.0F, 100.0F, 5.0F};
    Cache cache(quant::Type::F32, 2, 2);
    cache.store(0, values.data(), 2);
    const std::vector<float> q = {10.0F, 0.0F};
    std::vector<float> out(2);
    mla_attention(team, scratch, {out.data(), 1, 2, 2}, {q.data(), 1, 2, 2}, cache.rows(), 1, shape);
    EXPECT_EQ(out, (std::vector<float>{300.0F, 1.0F}));
}

// Grouped queries against the formula in double, for one way of limiting what a token sees.
void expect_gqa(const GqaShape& shape, const std::vector<float>& sinks) {
    constexpr std::int64_t n_rows = 40;
    ThreadTeam team(2);
    const Scratch scratch(team.size(),
                          attention_scratch_floats(n_rows, std::max(shape.head_dim, shape.value_dim)));
    const auto all_keys = test::random_floats(n_rows * shape.key_cols(), 3);
    const auto all_values = test::random_floats(n_rows * shape.value_cols(), 5);
    Cache keys(quant::Type::F32, n_rows, shape.key_cols());
    Cache values(quant::Type::F32, n_rows, shape.value_cols());
    keys.store(0, all_keys.data(), n_rows);
    values.store(0, all_values.data(), n_rows);
    for (const auto& [first_position, n_tokens] : {Case{0, 1}, Case{0, 17}, Case{39, 1}, Case{30, 10}}) {
        const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.head_dim;
        const std::int64_t out_cols = std::int64_t{shape.n_heads} * shape.value_dim;
        const auto q = test::random_floats(n_tokens * q_cols, 4);
        std::vector<float> out(static_cast<std::size_t>(n_tokens * out_cols));
        gqa_attention(team, scratch, {out.data(), n_tokens, out_cols, out_cols},
                      {q.data(), n_tokens, q_cols, q_cols}, keys.rows(), values.rows(), first_position, shape,
                      sinks);

        for (std::int64_t t = 0; t < n_tokens; ++t)
            for (std::int64_t h = 0; h < shape.n_heads; ++h) {
                const std::int64_t position = first_position + t;
                const std::int64_t kv_head = h * shape.n_kv_heads / shape.n_heads;
                const float* query = &q[static_cast<std::size_t>(t * q_cols + h * shape.head_dim)];
                const auto key = [&](std::int64_t s) {
                    return &all_keys[static_cast<std::size_t>(s * shape.key_cols() +
                                                              kv_head * shape.head_dim)];
                };
                const auto value = [&](std::int64_t s) {
                    return &all_values[static_cast<std::size_t>(s * shape.value_cols() +
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

// Results of 100 tokens, taken in batches of `batch`, from caches of these types with n_rows rows.
std::vector<float> attended(const GqaShape& shape, quant::Type type, std::int64_t n_rows, std::int64_t batch,
                            int n_threads) {
    constexpr std::int64_t n_tokens = 100;
    ThreadTeam team(n_threads);
    const Scratch scratch(team.size(), attention_scratch_floats(n_tokens, shape.head_dim));
    const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.head_dim;
    const auto q = test::random_floats(n_tokens * q_cols, 6);
    const auto k = test::random_floats(n_tokens * shape.key_cols(), 7);
    const auto v = test::random_floats(n_tokens * shape.value_cols(), 8);
    Cache keys(type, n_rows, shape.key_cols());
    Cache values(type, n_rows, shape.value_cols());
    std::vector<float> out(q.size());
    for (std::int64_t first = 0; first < n_tokens; first += batch) {
        const std::int64_t n = std::min(batch, n_tokens - first);
        keys.store(first, &k[static_cast<std::size_t>(first * shape.key_cols())], n);
        values.store(first, &v[static_cast<std::size_t>(first * shape.value_cols())], n);
        const auto at = static_cast<std::size_t>(first * q_cols);
        gqa_attention(team, scratch, {&out[at], n, q_cols, q_cols}, {&q[at], n, q_cols, q_cols}, keys.rows(),
                      values.rows(), first, shape, {});
    }
    return out;
}

TEST(GqaAttention, AnyBatchNumberOfThreadsAndRingGivesTheSameBits) {
    const GqaShape windowed{6, 2, 32, 32, 0.2F, 13};
    const GqaShape chunked{6, 2, 32, 32, 0.2F, 0, 16};
    for (const GqaShape& shape : {windowed, chunked})
        for (const quant::Type type : {quant::Type::F32, quant::Type::F16, quant::Type::Q8_0}) {
            const auto expected = attended(shape, type, 100, 100, 1);
            EXPECT_EQ(attended(shape, type, 100, 1, 2), expected);
            EXPECT_EQ(attended(shape, type, 100, 7, 3), expected);
            EXPECT_EQ(attended(shape, type, 16 + 7, 7, 2), expected) << "in a ring";
        }
}

TEST(GqaAttention, SeesWhatTheCachesTypeKeepsOfKeysAndValues) {
    const GqaShape shape{4, 2, 64, 64, 0.1F};
    for (const quant::Type type :
         {quant::Type::F16, quant::Type::BF16, quant::Type::Q8_0, quant::Type::Q4_0}) {
        // The same rows, widened to float before they are cached.
        const auto widened = [type](std::vector<float> values) {
            std::vector<std::byte> bytes(
                static_cast<std::size_t>(quant::row_bytes(type, static_cast<std::int64_t>(values.size()))));
            quant::encode_row(type, values.data(), bytes.data(), static_cast<std::int64_t>(values.size()));
            quant::decode_row(type, bytes.data(), values.data(), static_cast<std::int64_t>(values.size()));
            return values;
        };
        constexpr std::int64_t n_tokens = 40;
        ThreadTeam team(2);
        const Scratch scratch(team.size(), attention_scratch_floats(n_tokens, shape.head_dim));
        const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.head_dim;
        const auto q = test::random_floats(n_tokens * q_cols, 6);
        const auto k = test::random_floats(n_tokens * shape.key_cols(), 7);
        const auto v = test::random_floats(n_tokens * shape.value_cols(), 8);
        const auto run = [&](quant::Type cached, const std::vector<float>& from_k,
                             const std::vector<float>& from_v) {
            Cache keys(cached, n_tokens, shape.key_cols());
            Cache values(cached, n_tokens, shape.value_cols());
            keys.store(0, from_k.data(), n_tokens);
            values.store(0, from_v.data(), n_tokens);
            std::vector<float> out(q.size());
            gqa_attention(team, scratch, {out.data(), n_tokens, q_cols, q_cols},
                          {q.data(), n_tokens, q_cols, q_cols}, keys.rows(), values.rows(), 0, shape, {});
            return out;
        };
        EXPECT_EQ(run(type, k, v), run(quant::Type::F32, widened(k), widened(v))) << quant::type_name(type);
    }
}

TEST(MlaAttention, SeesOnlyTheListedPositions) {
    const MlaShape shape{3, 32, 32, 0.2F};
    constexpr std::int64_t n_rows = 50;
    ThreadTeam team(2);
    const Scratch scratch(team.size(), attention_scratch_floats(n_rows, shape.row_dim()));
    const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.row_dim();
    const std::int64_t out_cols = std::int64_t{shape.n_heads} * shape.latent_dim;
    const auto q = test::random_floats(2 * q_cols, 1);
    const auto all = test::random_floats(n_rows * shape.row_dim(), 2);
    Cache cache(quant::Type::F32, n_rows, shape.row_dim());
    cache.store(0, all.data(), n_rows);
    // The second token has one position less than the list has room for.
    const std::vector<std::int32_t> visible = {3, 17, 40, 1, 48, -1};
    std::vector<float> out(static_cast<std::size_t>(2 * out_cols));
    mla_attention(team, scratch, {out.data(), 2, out_cols, out_cols}, {q.data(), 2, q_cols, q_cols},
                  cache.rows(), 47, shape, visible, 3);
    // The same rows alone, seen in full by one token at a time.
    for (std::int64_t t = 0; t < 2; ++t) {
        Cache few(quant::Type::F32, 3, shape.row_dim());
        const std::int64_t n = t == 0 ? 3 : 2;
        for (std::int64_t i = 0; i < n; ++i)
            few.store(i,
                      &all[static_cast<std::size_t>(visible[static_cast<std::size_t>(3 * t + i)] *
                                                    shape.row_dim())],
                      1);
        std::vector<float> expected(static_cast<std::size_t>(out_cols));
        mla_attention(team, scratch, {expected.data(), 1, out_cols, out_cols},
                      {&q[static_cast<std::size_t>(t * q_cols)], 1, q_cols, q_cols}, few.rows(), n - 1,
                      shape);
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), out.begin() + t * out_cols));
    }
}

}  // namespace
}  // namespace greenroom::cpu
