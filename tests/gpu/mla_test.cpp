// Latent attention on the GPU against the CPU's, on the same cached rows.

#include "gpu/kernels/mla.h"

#include "cpu/attention.h"
#include "gpu/step_state.h"
#include "quant/types.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/device_cache.h"
#include "tests/gpu/lane_orders.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::random_floats;
using quant::Type;
using test::DeviceArray;

class MlaTest : public test::GpuTest {
  protected:
    // Returns what the GPU has computed.
    std::vector<float> expect_as_on_cpu(const MlaShape& shape, std::int64_t first_position,
                                        std::int64_t n_tokens, Type type = Type::F32,
                                        const std::vector<std::int32_t>& visible = {},
                                        std::int64_t slack = 0) {
        Stream stream;
        cpu::ThreadTeam team(1);
        const cpu::Scratch scratch(1, cpu::attention_scratch_floats(shape.row_dim()));
        const std::int64_t n_positions = first_position + n_tokens;
        const std::int64_t n_visible = static_cast<std::int64_t>(visible.size()) / n_tokens;
        const test::DeviceCache cache(stream, type, n_positions, shape.row_dim(),
                                      random_floats(n_positions * shape.row_dim(), 61));
        const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.row_dim();
        const std::int64_t out_cols = std::int64_t{shape.n_heads} * shape.latent_dim;
        const auto q = random_floats(n_tokens * q_cols, 62);
        std::vector<float> expected(static_cast<std::size_t>(n_tokens * out_cols));
        cpu::mla_attention(team, scratch, {expected.data(), n_tokens, out_cols, out_cols},
                           {q.data(), n_tokens, q_cols, q_cols}, cache.host(), first_position, shape, visible,
                           n_visible);

        const DeviceArray<float> device_q(stream, q);
        const DeviceArray<float> out(stream, expected.size());
        const DeviceArray<std::int32_t> listed(stream,
                                               visible.empty() ? std::vector<std::int32_t>{-1} : visible);
        const auto step = test::step_at(stream, first_position);
        const std::int64_t bound = n_positions + slack;
        const DeviceArray<float> device_scratch(
            stream, static_cast<std::size_t>(mla_scratch_floats(shape, n_tokens, bound)));
        mla_attention(stream, out.matrix(n_tokens, out_cols), device_q.matrix(n_tokens, q_cols),
                      cache.device(), step.data(), bound, shape, {listed.data(), visible.size()}, n_visible,
                      {device_scratch.data(), device_scratch.size()});
        const std::vector<float> found = out.download();
        EXPECT_LE(test::relative_difference(found, expected), test::attention_tolerance(type))
            << "first position " << first_position << ", " << n_tokens << " tokens";
        return found;
    }
};

TEST_P(MlaTest, SingleTokensAndPrompts) {
    for (const std::int64_t first : {0, 1, 31, 32, 255, 256, 530})
        expect_as_on_cpu({3, 20, 6, 0.3F}, first, 1);
    for (const std::int64_t n : {2, 5, 17, 40}) expect_as_on_cpu({3, 20, 6, 0.3F}, 0, n);
    expect_as_on_cpu({3, 20, 6, 0.3F}, 250, 9);
    expect_as_on_cpu({1, 2, 0, 1.0F}, 0, 1);
}

TEST_P(MlaTest, HeadsOfATokenMayFillSeveralTiles) {
    expect_as_on_cpu({70, 40, 7, 0.1F}, 60, 1);
    expect_as_on_cpu({17, 130, 7, 0.1F}, 30, 3);
}

TEST_P(MlaTest, RowsOfDeepSeek) { expect_as_on_cpu({5, 512, 64, 0.04F}, 40, 2); }

TEST_P(MlaTest, ManyTilesAreNotSplit) { expect_as_on_cpu({64, 4, 2, 0.3F}, 5, 33); }

TEST_P(MlaTest, CachesOfEveryType) {
    for (const Type type : {Type::F16, Type::BF16, Type::Q8_0, Type::Q4_0})
        expect_as_on_cpu({3, 64, 32, 0.1F}, 40, 2, type);
}

TEST_P(MlaTest, TheBoundMayBeFarAboveThePositions) {
    expect_as_on_cpu({3, 20, 6, 0.3F}, 3, 2, Type::F32, {}, 4000);
}

// So a captured graph gives what the operations do.
TEST_P(MlaTest, NeitherTheBoundNorAListOfAllChangesABit) {
    const MlaShape shape{3, 20, 6, 0.3F};
    for (const std::int64_t first : {40, 300}) {
        const auto exact = expect_as_on_cpu(shape, first, 1);
        EXPECT_EQ(expect_as_on_cpu(shape, first, 1, Type::F32, {}, 700), exact);
        std::vector<std::int32_t> all(600, -1);
        std::iota(all.begin(), all.begin() + first + 1, 0);
        EXPECT_EQ(expect_as_on_cpu(shape, first, 1, Type::F32, all, 700), exact);
    }
}

TEST_P(MlaTest, OnlyListedRowsAreSeen) {
    // Of three tokens at 40: full lists, one that ends early, one of a single row.
    expect_as_on_cpu({3, 20, 6, 0.3F}, 40, 3, Type::F32, {0, 7, 8, 40, 3, 5, 41, -1, 42, -1, -1, -1});
    // A list of more than a split.
    std::vector<std::int32_t> odd;
    for (int p = 0; p < 300; ++p) odd.push_back(2 * p + 1);
    expect_as_on_cpu({20, 20, 6, 0.3F}, 620, 1, Type::F16, odd);
}

GR_RUN_IN_LANE_ORDERS(MlaTest);

}  // namespace
}  // namespace greenroom::gpu
