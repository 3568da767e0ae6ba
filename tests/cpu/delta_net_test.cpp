// Gated DeltaNet against its formulas in double, and the same bits however the tokens come.

#include "cpu/delta_net.h"

#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace greenroom::cpu {
namespace {

TEST(CausalConv, IsTheWeightedSumOfTheLastRowsThroughSilu) {
    constexpr std::int64_t kChannels = 70;
    constexpr std::int64_t kWidth = 4;
    constexpr std::int64_t kTokens = 9;
    const auto weight = test::random_floats(kChannels * kWidth, 1, 0.3F);
    const auto state = test::random_floats(kChannels * (kWidth - 1), 2);
    const auto input = test::random_floats(kChannels * kTokens, 3);
    ThreadTeam team(2);
    auto x = input;
    std::vector<float> next(state.size());
    causal_conv(team, {x.data(), kTokens, kChannels, kChannels}, weight, state, next);

    const auto row = [&](std::int64_t t, std::int64_t c) {
        return t < 0 ? state[static_cast<std::size_t>((t + kWidth - 1) * kChannels + c)]
                     : input[static_cast<std::size_t>(t * kChannels + c)];
    };
    for (std::int64_t t = 0; t < kTokens; ++t)
        for (std::int64_t c = 0; c < kChannels; ++c) {
            double sum = 0;
            for (std::int64_t j = 0; j < kWidth; ++j)
                sum += static_cast<double>(weight[static_cast<std::size_t>(c * kWidth + j)]) *
                       static_cast<double>(row(t - (kWidth - 1) + j, c));
            const double expected = sum / (1 + std::exp(-sum));
            EXPECT_NEAR(x[static_cast<std::size_t>(t * kChannels + c)], expected, 1e-5 * (1 + std::abs(sum)));
        }
    for (std::int64_t j = 0; j < kWidth - 1; ++j)
        for (std::int64_t c = 0; c < kChannels; ++c)
            EXPECT_EQ(next[static_cast<std::size_t>(j * kChannels + c)], row(kTokens - (kWidth - 1) + j, c));
}

TEST(CausalConv, AStateInPlaceAndAnyBatchGiveTheSameBits) {
    constexpr std::int64_t kChannels = 20;
    const auto weight = test::random_floats(kChannels * 4, 1);
    auto whole = test::random_floats(kChannels * 10, 3);
    auto pieces = whole;
    std::vector<float> state(kChannels * 3);
    std::vector<float> end(state.size());
    ThreadTeam team(1);
    causal_conv(team, {whole.data(), 10, kChannels, kChannels}, weight, state, end);
    for (const std::int64_t first : {0, 2, 4, 6, 8})
        causal_conv(team, {&pieces[static_cast<std::size_t>(first * kChannels)], 2, kChannels, kChannels},
                    weight, state, state);
    EXPECT_EQ(pieces, whole);
    EXPECT_EQ(state, end);
}

// Everything that a delta_rule() call needs, for a shape and a number of tokens.
struct Example {
    explicit Example(const DeltaNetShape& s, std::int64_t n) : shape(s), n_tokens(n) {
        qkv = test::random_floats(n * s.channels(), 11);
        gates = test::random_floats(n * 2 * s.n_value_heads, 12);
        a = test::random_floats(s.n_value_heads, 13);
        for (float& v : a) v = -std::abs(v) * 0.3F;
        dt_bias = test::random_floats(s.n_value_heads, 14);
        state = test::random_floats(s.head_state_values(), 15, 0.2F);
    }

    // Tokens [first, first + n) from and to `held`.
    std::vector<float> run(ThreadTeam& team, std::int64_t first, std::int64_t n,
                           std::vector<float>& held) const {
        std::vector<float> copy(qkv.begin() + first * shape.channels(),
                                qkv.begin() + (first + n) * shape.channels());
        std::vector<float> out(static_cast<std::size_t>(n * shape.value_cols()));
        delta_rule(team, {out.data(), n, shape.value_cols(), shape.value_cols()},
                   {copy.data(), n, shape.channels(), shape.channels()},
                   {&gates[static_cast<std::size_t>(first * 2 * shape.n_value_heads)], n,
                    2 * shape.n_value_heads, 2 * shape.n_value_heads},
                   a, dt_bias, 1e-6F, held, held, shape);
        return out;
    }

    DeltaNetShape shape;
    std::int64_t n_tokens;
    std::vector<float> qkv, gates, a, dt_bias, state;
};

// The paper's recurrence, in double.  key_head, beta and alpha: of value head h.
template <class KeyHead, class Beta, class Alpha>
void expect_recurrence(const Example& e, KeyHead&& key_head, Beta&& beta_column, Alpha&& alpha_column) {
    const DeltaNetShape& s = e.shape;
    ThreadTeam team(2);
    auto held = e.state;
    const auto out = e.run(team, 0, e.n_tokens, held);
    for (int h = 0; h < s.n_value_heads; ++h) {
        std::vector<double> state(e.state.begin() + h * s.value_dim * s.key_dim,
                                  e.state.begin() + (h + 1) * s.value_dim * s.key_dim);
        const auto at = [&](std::int64_t i, std::int64_t j) -> double& {
            return state[static_cast<std::size_t>(i * s.key_dim + j)];
        };
        for (std::int64_t t = 0; t < e.n_tokens; ++t) {
            const float* row = &e.qkv[static_cast<std::size_t>(t * s.channels())];
            const auto unit = [&](const float* x) {
                double sum = 0;
                for (int i = 0; i < s.key_dim; ++i)
                    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
                std::vector<double> v;
                for (int i = 0; i < s.key_dim; ++i)
                    v.push_back(static_cast<double>(x[i]) / std::sqrt(sum + 1e-6));
                return v;
            };
            const auto q = unit(row + key_head(h) * s.key_dim);
            const auto k = unit(row + s.key_cols() + key_head(h) * s.key_dim);
            const float* v = row + 2 * s.key_cols() + h * s.value_dim;
            const float* gate = &e.gates[static_cast<std::size_t>(t * 2 * s.n_value_heads)];
            const auto index = static_cast<std::size_t>(h);
            const double dt =
                static_cast<double>(gate[alpha_column(h)]) + static_cast<double>(e.dt_bias[index]);
            const double alpha = std::exp(static_cast<double>(e.a[index]) * std::log1p(std::exp(dt)));
            const double beta = 1 / (1 + std::exp(-static_cast<double>(gate[beta_column(h)])));
            for (std::int64_t i = 0; i < s.value_dim; ++i) {
                double found = 0;
                for (std::int64_t j = 0; j < s.key_dim; ++j)
                    found += alpha * at(i, j) * k[static_cast<std::size_t>(j)];
                double result = 0;
                for (std::int64_t j = 0; j < s.key_dim; ++j) {
                    const auto jj = static_cast<std::size_t>(j);
                    at(i, j) = alpha * at(i, j) + beta * (static_cast<double>(v[i]) - found) * k[jj];
                    result += at(i, j) * q[jj];
                }
                EXPECT_NEAR(out[static_cast<std::size_t>(t * s.value_cols() + h * s.value_dim + i)],
                            result / std::sqrt(s.key_dim), 2e-5)
                    << "head " << h << " token " << t;
            }
        }
        for (std::size_t i = 0; i < state.size(); ++i)
            EXPECT_NEAR(held[static_cast<std::size_t>(h) * state.size() + i], state[i], 2e-5);
    }
}

constexpr DeltaNetShape kQwen35{
    2, 6, 16, 16, 4, DeltaNetShape::KeySharing::round_robin, DeltaNetShape::GateOrder::betas_then_alphas};
constexpr DeltaNetShape kQwen3Next{
    2, 6, 16, 16, 4, DeltaNetShape::KeySharing::consecutive, DeltaNetShape::GateOrder::by_key_head};

TEST(DeltaRule, IsTheRecurrenceWithKeysInTurnAndGatesSideBySide) {
    expect_recurrence(
        Example(kQwen35, 12), [](int h) { return h % 2; }, [](int h) { return h; },
        [](int h) { return 6 + h; });
}

TEST(DeltaRule, IsTheRecurrenceWithHeadsAndGatesByKeyHead) {
    expect_recurrence(
        Example(kQwen3Next, 12), [](int h) { return h / 3; }, [](int h) { return h / 3 * 6 + h % 3; },
        [](int h) { return h / 3 * 6 + 3 + h % 3; });
}

TEST(DeltaRule, AnyBatchAndNumberOfThreadsGivesTheSameBits) {
    const Example example(kQwen35, 12);
    ThreadTeam one(1);
    ThreadTeam three(3);
    auto whole_state = example.state;
    const auto whole = example.run(one, 0, 12, whole_state);
    auto state = example.state;
    std::vector<float> pieces;
    for (const std::int64_t first : {0, 4, 8}) {
        const auto piece = example.run(three, first, 4, state);
        pieces.insert(pieces.end(), piece.begin(), piece.end());
    }
    EXPECT_EQ(pieces, whole);
    EXPECT_EQ(state, whole_state);
}

}  // namespace
}  // namespace greenroom::cpu
