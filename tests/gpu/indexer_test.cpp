// The lightning indexer on the GPU against the CPU's. Inputs are small whole numbers wherever the choice is
// compared: their scores are exact in any order of sums.

#include "gpu/kernels/indexer.h"

#include "cpu/indexer.h"
#include "gpu/step_state.h"
#include "quant/types.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/device_cache.h"
#include "tests/gpu/lane_orders.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace greenroom::gpu {
namespace {

using quant::Type;
using test::DeviceArray;

class IndexerTest : public test::GpuTest {
  protected:
    static std::vector<float> whole_numbers(std::int64_t n, unsigned seed, int limit = 3) {
        std::mt19937 random(seed);
        std::vector<float> values(static_cast<std::size_t>(n));
        for (float& v : values)
            v = static_cast<float>(static_cast<int>(random() % static_cast<unsigned>(2 * limit + 1)) - limit);
        return values;
    }

    struct Problem {
        std::int64_t n_heads;
        std::int64_t head_dim;
        std::int64_t first_position;
        std::int64_t n_tokens;
        std::int64_t top_k;
        Type type = Type::F32;
        std::int64_t slack = 0;
    };

    static void expect_as_on_cpu(const Problem& p, const std::vector<float>& keys,
                                 const std::vector<float>& q, const std::vector<float>& weights) {
        Stream stream;
        cpu::ThreadTeam team(1);
        const std::int64_t n_positions = p.first_position + p.n_tokens;
        const cpu::Scratch scratch(1, cpu::indexer_scratch_floats(n_positions, p.head_dim));
        const test::DeviceCache cache(stream, p.type, n_positions, p.head_dim, keys);
        const std::int64_t q_cols = p.n_heads * p.head_dim;
        std::vector<std::int32_t> expected(static_cast<std::size_t>(p.n_tokens * p.top_k));
        cpu::index_positions(team, scratch, expected, {q.data(), p.n_tokens, q_cols, q_cols},
                             {weights.data(), p.n_tokens, p.n_heads, p.n_heads}, cache.host(),
                             p.first_position, p.top_k);
        const DeviceArray<float> device_q(stream, q);
        const DeviceArray<float> device_weights(stream, weights);
        const DeviceArray<std::int32_t> visible(stream, expected.size());
        const auto step = test::step_at(stream, p.first_position);
        const std::int64_t bound = n_positions + p.slack;
        const DeviceArray<float> device_scratch(
            stream, static_cast<std::size_t>(indexer_scratch_floats(p.n_tokens, bound)));
        index_positions(stream, {visible.data(), visible.size()}, device_q.matrix(p.n_tokens, q_cols),
                        device_weights.matrix(p.n_tokens, p.n_heads), cache.device(), step.data(), bound,
                        p.top_k, {device_scratch.data(), device_scratch.size()});
        EXPECT_EQ(visible.download(), expected);
    }

    static void expect_as_on_cpu(const Problem& p) {
        expect_as_on_cpu(p, whole_numbers((p.first_position + p.n_tokens) * p.head_dim, 91),
                         whole_numbers(p.n_tokens * p.n_heads * p.head_dim, 92),
                         whole_numbers(p.n_tokens * p.n_heads, 93));
    }
};

TEST_P(IndexerTest, ChoosesAsTheCpuWithManyTies) {
    expect_as_on_cpu({5, 12, 0, 1, 4});     // one position
    expect_as_on_cpu({5, 12, 0, 9, 4});     // from too few to more than enough
    expect_as_on_cpu({1, 1, 700, 2, 100});  // few different scores, more than a block of positions
    expect_as_on_cpu({37, 20, 90, 3, 32});  // heads in two rounds
    expect_as_on_cpu({3, 6, 30, 2, 1, Type::F16, 500});
}

TEST_P(IndexerTest, CachesOfEveryType) {
    for (const Type type : {Type::F16, Type::BF16}) expect_as_on_cpu({4, 33, 50, 2, 20, type});
    // A peak of 127 or of -8 in every block makes the scale 1 and whole numbers exact; one of 127 · 128 /
    // 4096 does so for the queries, which the CPU makes integers of 15 bits.
    for (const Type type : {Type::Q8_0, Type::Q4_0}) {
        const Problem p{4, 32, 50, 2, 20, type};
        auto keys = whole_numbers(52 * 32, 94);
        for (std::size_t s = 0; s < 52; ++s) keys[s * 32 + 31] = type == Type::Q8_0 ? 127.0F : -8.0F;
        auto queries = whole_numbers(2 * 4 * 32, 92);
        for (std::size_t h = 0; h < 2 * 4; ++h) queries[h * 32 + 30] = 127.0F * 128.0F / 4096.0F;
        expect_as_on_cpu(p, keys, queries, whole_numbers(2 * 4, 93));
    }
}

TEST_P(IndexerTest, ScoresFarApartEqualOnesAndSigns) {
    constexpr std::int64_t kPositions = 600;
    const Problem p{1, 1, kPositions - 1, 1, 64};
    std::vector<float> keys;
    for (std::int64_t s = 0; s < kPositions; ++s)
        keys.push_back(std::ldexp(1.0F, static_cast<int>(s * 7 % 250) - 125));
    expect_as_on_cpu(p, keys, {1.0F}, {1.0F});
    expect_as_on_cpu(p, keys, {1.0F}, {-1.0F});  // all negative
    expect_as_on_cpu(p, keys, {-1.0F}, {1.0F});  // all zero
    expect_as_on_cpu(p, std::vector<float>(kPositions, 2.0F), {1.0F}, {1.0F});
}

TEST_P(IndexerTest, ABrokenScoreComesLast) {
    constexpr float kInf = std::numeric_limits<float>::infinity();
    std::vector<float> keys = {1.0F, 3.0F, kInf, 2.0F, 5.0F, 4.0F};
    expect_as_on_cpu({2, 1, 5, 1, 3}, keys, {1.0F, 1.0F}, {1.0F, -1.0F});  // infinity - infinity
}

GR_RUN_IN_LANE_ORDERS(IndexerTest);

}  // namespace
}  // namespace greenroom::gpu
