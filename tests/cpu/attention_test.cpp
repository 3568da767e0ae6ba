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
#include <limits>
#include <vector>

namespace greenroom::cpu {
namespace {

// Cached rows of their own, filled from floats; a ring where n_rows is less than n_positions.
class Cache {
  public:
    Cache(quant::Type type, std::int64_t n_rows, std::int64_t n_values, int n_heads = 1)
        : rows_{nullptr, type, n_rows, n_values, quant::row_bytes(type, n_values), n_heads},
          bytes_(static_cast<std::size_t>(n_heads * n_rows * rows_.row_bytes)) {
        rows_.data = bytes_.data();
    }

    void store(std::int64_t first_position, const float* values, std::int64_t n) {
        const std::int64_t n_columns = rows_.n_heads * rows_.n_values;
        store_rows(team_, rows_, first_position, {values, n, n_columns, n_columns});
    }
    const KvRows& rows() const { return rows_; }

  private:
    ThreadTeam team_{1};
    KvRows rows_;
    std::vector<std::byte> bytes_;
};

struct Case {
    std::int64_t first_position;
    std::int64_t n_tokens;
};

// Latent attention against the formula in double.
void expect_mla(const MlaShape& shape, std::int64_t n_rows, const std::vector<Case>& cases) {
    ThreadTeam team(2);
    const Scratch scratch(team.size(), attention_scratch_floats(shape.row_dim()));
    const auto cache = test::random_floats(n_rows * shape.row_dim(), 1);
    Cache rows(quant::Type::F32, n_rows, shape.row_dim());
    rows.store(0, cache.data(), n_rows);
    for (const auto& [first_position, n_tokens] : cases) {
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

TEST(MlaAttention, IsSoftmaxOfScoresTimesLatents) {
    expect_mla({3, 20, 6, 0.3F}, 40, {{0, 1}, {0, 17}, {39, 1}, {30, 10}});
}

TEST(MlaAttention, HeadsOfATokenMayFillSeveralTiles) {
    expect_mla({70, 40, 7, 0.1F}, 300, {{299, 1}, {61, 5}});
    expect_mla({5, 512, 64, 0.04F}, 70, {{69, 1}, {62, 4}});
}

TEST(MlaAttention, LargeScoresDoNotOverflow) {
    const MlaShape shape{1, 2, 0, 1.0F};
    ThreadTeam team(1);
    const Scratch scratch(1, attention_scratch_floats(2));
    const std::vector<float> values = {300.0F, 1.0F, 100.0F, 5.0F};
    Cache cache(quant::Type::F32, 2, 2);
    cache.store(0, values.data(), 2);
    const std::vector<float> q = {10.0F, 0.0F};
    std::vector<float> out(2);
    mla_attention(team, scratch, {out.data(), 1, 2, 2}, {q.data(), 1, 2, 2}, cache.rows(), 1, shape);
    EXPECT_EQ(out, (std::vector<float>{300.0F, 1.0F}));
}

// Grouped queries against the formula in double, for one way of limiting what a token sees.
void expect_gqa(const GqaShape& shape, const std::vector<float>& sinks, std::int64_t n_rows = 40,
                const std::vector<Case>& cases = {{0, 1}, {0, 17}, {39, 1}, {30, 10}}) {
    ThreadTeam team(2);
    const Scratch scratch(team.size(), attention_scratch_floats(std::max(shape.head_dim, shape.value_dim)));
    const auto all_keys = test::random_floats(n_rows * shape.key_cols(), 3);
    const auto all_values = test::random_floats(n_rows * shape.value_cols(), 5);
    Cache keys(quant::Type::F32, n_rows, shape.head_dim, shape.n_kv_heads);
    Cache values(quant::Type::F32, n_rows, shape.value_dim, shape.n_kv_heads);
    keys.store(0, all_keys.data(), n_rows);
    values.store(0, all_values.data(), n_rows);
    for (const auto& [first_position, n_tokens] : cases) {
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

// Blocks have 64 positions, segments 256, tiles 64 queries.
TEST(GqaAttention, IsItsFormulaWhereBlocksSegmentsAndTilesEnd) {
    const std::vector<Case> cases = {{63, 1}, {63, 2}, {64, 1}, {0, 130}, {255, 3}, {599, 1}, {500, 100}};
    expect_gqa({6, 2, 80, 96, 0.1F}, {}, 600, cases);
    expect_gqa({5, 1, 33, 17, 0.2F}, {1.0F, -2.0F, 30.0F, 0.5F, -30.0F}, 600, cases);
    expect_gqa({2, 2, 192, 128, 0.07F, 100}, {}, 600, cases);
    expect_gqa({8, 1, 16, 48, 0.3F, 0, 90}, {}, 600, cases);
}

// Results of n_tokens tokens, taken in batches of `batch`, from caches of these types with n_rows rows.
std::vector<float> attended(const GqaShape& shape, quant::Type type, std::int64_t n_tokens,
                            std::int64_t n_rows, std::int64_t batch, int n_threads,
                            const std::vector<float>& sinks = {}) {
    ThreadTeam team(n_threads);
    const Scratch scratch(team.size(), attention_scratch_floats(shape.head_dim));
    for (int thread = 0; thread < n_threads; ++thread)  // what is in it must not matter
        std::fill_n(scratch.of(thread), scratch.floats_per_thread(), std::numeric_limits<float>::quiet_NaN());
    const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.head_dim;
    const auto q = test::random_floats(n_tokens * q_cols, 6);
    const auto k = test::random_floats(n_tokens * shape.key_cols(), 7);
    const auto v = test::random_floats(n_tokens * shape.value_cols(), 8);
    Cache keys(type, n_rows, shape.head_dim, shape.n_kv_heads);
    Cache values(type, n_rows, shape.value_dim, shape.n_kv_heads);
    std::vector<float> out(q.size());
    for (std::int64_t first = 0; first < n_tokens; first += batch) {
        const std::int64_t n = std::min(batch, n_tokens - first);
        keys.store(first, &k[static_cast<std::size_t>(first * shape.key_cols())], n);
        values.store(first, &v[static_cast<std::size_t>(first * shape.value_cols())], n);
        const auto at = static_cast<std::size_t>(first * q_cols);
        gqa_attention(team, scratch, {&out[at], n, q_cols, q_cols}, {&q[at], n, q_cols, q_cols}, keys.rows(),
                      values.rows(), first, shape, sinks);
    }
    return out;
}

TEST(GqaAttention, AnyBatchNumberOfThreadsAndRingGivesTheSameBits) {
    const GqaShape windowed{6, 2, 32, 32, 0.2F, 13};
    const GqaShape chunked{6, 2, 32, 32, 0.2F, 0, 16};
    for (const GqaShape& shape : {windowed, chunked})
        for (const quant::Type type : {quant::Type::F32, quant::Type::F16, quant::Type::Q8_0}) {
            const auto expected = attended(shape, type, 100, 100, 100, 1);
            EXPECT_EQ(attended(shape, type, 100, 100, 1, 2), expected);
            EXPECT_EQ(attended(shape, type, 100, 100, 7, 3), expected);
            EXPECT_EQ(attended(shape, type, 100, 16 + 7, 7, 2), expected) << "in a ring";
        }
}

// Several segments; with more threads than tiles they are shared out.
TEST(GqaAttention, AnyBatchAndNumberOfThreadsGivesTheSameBitsInALongContext) {
    constexpr std::int64_t kTokens = 700;
    const std::vector<float> sinks = {0.5F, -1.0F, 3.0F, 0.0F, 20.0F, -4.0F, 1.0F, 2.0F};
    const GqaShape all{8, 1, 32, 32, 0.2F};
    const GqaShape windowed{8, 2, 32, 32, 0.2F, 300};
    const GqaShape single{1, 1, 32, 32, 0.2F};
    for (const GqaShape& shape : {all, windowed, single})
        for (const quant::Type type : {quant::Type::F16, quant::Type::Q8_0, quant::Type::Q4_0}) {
            const std::vector<float> some(sinks.begin(), sinks.begin() + shape.n_heads);
            const auto expected = attended(shape, type, kTokens, kTokens, kTokens, 1, some);
            EXPECT_EQ(attended(shape, type, kTokens, kTokens, 1, 1, some), expected);
            EXPECT_EQ(attended(shape, type, kTokens, kTokens, 1, 5, some), expected);
            EXPECT_EQ(attended(shape, type, kTokens, kTokens, 3, 2, some), expected);
            // Of some batches the first tile ends in a segment before the last one's.
            EXPECT_EQ(attended(shape, type, kTokens, kTokens, 20, 2, some), expected);
            EXPECT_EQ(attended(shape, type, kTokens, kTokens, 250, 7, some), expected);
            if (shape.window > 0) {
                EXPECT_EQ(attended(shape, type, kTokens, 300 + 50, 50, 3, some), expected);
            }
        }
}

// A token must not be touched by later ones of its batch, whose rows lie in the same block.
TEST(GqaAttention, WhatATokenDoesNotSeeMayBeAnything) {
    const GqaShape shape{4, 1, 32, 32, 0.2F, 20};
    constexpr std::int64_t kTokens = 40;
    constexpr std::int64_t kBroken = 25;
    ThreadTeam team(1);
    const Scratch scratch(1, attention_scratch_floats(shape.head_dim));
    const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.head_dim;
    const auto q = test::random_floats(kTokens * q_cols, 1);
    auto rows = test::random_floats(kTokens * shape.key_cols(), 2);
    const auto run = [&] {
        Cache keys(quant::Type::F32, kTokens, shape.head_dim, shape.n_kv_heads);
        keys.store(0, rows.data(), kTokens);
        std::vector<float> out(q.size());
        gqa_attention(team, scratch, {out.data(), kTokens, q_cols, q_cols},
                      {q.data(), kTokens, q_cols, q_cols}, keys.rows(), keys.rows(), 0, shape, {});
        return out;
    };
    const auto expected = run();
    std::fill_n(rows.begin() + kBroken * shape.key_cols(), shape.key_cols(),
                std::numeric_limits<float>::quiet_NaN());
    const auto broken = run();
    EXPECT_TRUE(std::equal(broken.begin(), broken.begin() + kBroken * q_cols, expected.begin()));
    EXPECT_TRUE(
        std::all_of(broken.begin() + kBroken * q_cols, broken.end(), [](float v) { return std::isnan(v); }));
}

TEST(MlaAttention, AnyBatchAndNumberOfThreadsGivesTheSameBits) {
    const MlaShape shape{70, 32, 32, 0.1F};
    constexpr std::int64_t kTokens = 300;
    const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.row_dim();
    const std::int64_t out_cols = std::int64_t{shape.n_heads} * shape.latent_dim;
    const auto q = test::random_floats(kTokens * q_cols, 1);
    const auto rows = test::random_floats(kTokens * shape.row_dim(), 2);
    Cache cache(quant::Type::Q8_0, kTokens, shape.row_dim());
    cache.store(0, rows.data(), kTokens);
    const auto run = [&](std::int64_t batch, int n_threads) {
        ThreadTeam team(n_threads);
        const Scratch scratch(team.size(), attention_scratch_floats(shape.row_dim()));
        std::vector<float> out(static_cast<std::size_t>(kTokens * out_cols));
        for (std::int64_t first = 0; first < kTokens; first += batch) {
            const std::int64_t n = std::min(batch, kTokens - first);
            mla_attention(team, scratch, {out.data() + first * out_cols, n, out_cols, out_cols},
                          {q.data() + first * q_cols, n, q_cols, q_cols}, cache.rows(), first, shape);
        }
        return out;
    };
    const auto expected = run(kTokens, 1);
    EXPECT_EQ(run(1, 3), expected);
    EXPECT_EQ(run(7, 2), expected);
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
        const Scratch scratch(team.size(), attention_scratch_floats(shape.head_dim));
        const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.head_dim;
        const auto q = test::random_floats(n_tokens * q_cols, 6);
        const auto k = test::random_floats(n_tokens * shape.key_cols(), 7);
        const auto v = test::random_floats(n_tokens * shape.value_cols(), 8);
        const auto run = [&](quant::Type cached, const std::vector<float>& from_k,
                             const std::vector<float>& from_v) {
            Cache keys(cached, n_tokens, shape.head_dim, shape.n_kv_heads);
            Cache values(cached, n_tokens, shape.value_dim, shape.n_kv_heads);
            keys.store(0, from_k.data(), n_tokens);
            values.store(0, from_v.data(), n_tokens);
            std::vector<float> out(q.size());
            gqa_attention(team, scratch, {out.data(), n_tokens, q_cols, q_cols},
                          {q.data(), n_tokens, q_cols, q_cols}, keys.rows(), values.rows(), 0, shape, {});
            return out;
        };
        const auto out = run(type, k, v);
        const auto expected = run(quant::Type::F32, widened(k), widened(v));
        if (type == quant::Type::F16 || type == quant::Type::BF16) {
            EXPECT_EQ(out, expected) << quant::type_name(type);
            continue;
        }
        // With quantized rows queries may be integers: off by up to their largest, some 50, / 2^16. A score
        // is off by the root of 64 such errors, times a key and 0.1; a result by that times values of up
        // to 50.
        double sum = 0;
        for (std::size_t i = 0; i < out.size(); ++i) {
            ASSERT_NEAR(out[i], expected[i], 5e-2) << quant::type_name(type);
            sum += std::abs(static_cast<double>(out[i]) - static_cast<double>(expected[i]));
        }
        EXPECT_LT(sum / static_cast<double>(out.size()), 1e-3) << quant::type_name(type);
    }
}

TEST(MlaAttention, RowsOfHalvesAreSeenAsTheirFloats) {
    // A whole number of vectors in keys and values, in keys alone, in neither.
    for (const MlaShape& shape :
         {MlaShape{9, 32, 32, 0.1F}, MlaShape{9, 48, 16, 0.1F}, MlaShape{9, 40, 8, 0.1F}})
        for (const quant::Type type : {quant::Type::F16, quant::Type::BF16}) {
            constexpr std::int64_t kTokens = 100;
            const std::int64_t n_values = kTokens * shape.row_dim();
            const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.row_dim();
            const std::int64_t out_cols = std::int64_t{shape.n_heads} * shape.latent_dim;
            const auto q = test::random_floats(2 * q_cols, 1);
            const auto rows = test::random_floats(n_values, 2);
            std::vector<std::byte> bytes(static_cast<std::size_t>(quant::row_bytes(type, n_values)));
            std::vector<float> widened(rows.size());
            quant::encode_row(type, rows.data(), bytes.data(), n_values);
            quant::decode_row(type, bytes.data(), widened.data(), n_values);
            ThreadTeam team(2);
            const Scratch scratch(team.size(), attention_scratch_floats(shape.row_dim()));
            const auto run = [&](quant::Type cached) {
                Cache cache(cached, kTokens, shape.row_dim());
                cache.store(0, widened.data(), kTokens);
                std::vector<float> out(static_cast<std::size_t>(2 * out_cols));
                mla_attention(team, scratch, {out.data(), 2, out_cols, out_cols},
                              {q.data(), 2, q_cols, q_cols}, cache.rows(), kTokens - 2, shape);
                return out;
            };
            EXPECT_EQ(run(type), run(quant::Type::F32)) << shape.latent_dim;
        }
}

TEST(MlaAttention, SeesOnlyTheListedPositions) {
    const MlaShape shape{3, 32, 32, 0.2F};
    constexpr std::int64_t n_rows = 50;
    ThreadTeam team(2);
    const Scratch scratch(team.size(), attention_scratch_floats(shape.row_dim()));
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
        for (std::int64_t i = 0; i < n; ++i) {
            const std::int64_t position = visible[static_cast<std::size_t>(3 * t + i)];
            few.store(i, &all[static_cast<std::size_t>(position * shape.row_dim())], 1);
        }
        std::vector<float> expected(static_cast<std::size_t>(out_cols));
        mla_attention(team, scratch, {expected.data(), 1, out_cols, out_cols},
                      {&q[static_cast<std::size_t>(t * q_cols)], 1, q_cols, q_cols}, few.rows(), n - 1,
                      shape);
        EXPECT_TRUE(std::equal(expected.begin(), expected.end(), out.begin() + t * out_cols));
    }
}

}  // namespace
}  // namespace greenroom::cpu
