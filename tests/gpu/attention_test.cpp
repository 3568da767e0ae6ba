// Attention with grouped queries on the GPU against the CPU's, on the same cached rows.

#include "gpu/kernels/attention.h"

#include "cpu/attention.h"
#include "gpu/step_state.h"
#include "quant/types.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/device_cache.h"
#include "tests/gpu/lane_orders.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::random_floats;
using quant::Type;
using test::DeviceArray;

// Sums of some hundred float32 terms in another order, and 2 + 1.5·|x| units of 2^-24 in e^x.
constexpr double kTolerance = 2e-5;

struct Case {
    std::int64_t first_position;
    std::int64_t n_tokens;
};

struct Setting {
    Type key_type = Type::F32;
    Type value_type = Type::F32;
    std::int64_t n_rows = 0;  // of a ring; 0: as many as positions
    std::int64_t slack = 0;   // how far the bound is above the positions
    std::vector<float> sinks;
};

class GqaTest : public test::GpuTest {
  protected:
    void expect_as_on_cpu(const GqaShape& shape, Case c, const Setting& setting = {}) {
        Stream stream;
        cpu::ThreadTeam team(1);
        const cpu::Scratch scratch(1,
                                   cpu::attention_scratch_floats(std::max(shape.head_dim, shape.value_dim)));
        const std::int64_t n_positions = c.first_position + c.n_tokens;
        const std::int64_t n_rows = setting.n_rows == 0 ? n_positions : setting.n_rows;
        const test::DeviceCache keys(stream, setting.key_type, n_rows, shape.head_dim,
                                     random_floats(n_positions * shape.key_cols(), 51), shape.n_kv_heads);
        const test::DeviceCache values(stream, setting.value_type, n_rows, shape.value_dim,
                                       random_floats(n_positions * shape.value_cols(), 52), shape.n_kv_heads);
        const std::int64_t q_cols = std::int64_t{shape.n_heads} * shape.head_dim;
        const std::int64_t out_cols = std::int64_t{shape.n_heads} * shape.value_dim;
        const auto q = random_floats(c.n_tokens * q_cols, 53);
        std::vector<float> expected(static_cast<std::size_t>(c.n_tokens * out_cols));
        cpu::gqa_attention(team, scratch, {expected.data(), c.n_tokens, out_cols, out_cols},
                           {q.data(), c.n_tokens, q_cols, q_cols}, keys.host(), values.host(),
                           c.first_position, shape, setting.sinks);

        const DeviceArray<float> device_q(stream, q);
        const DeviceArray<float> out(stream, expected.size());
        const DeviceArray<float> sinks(stream,
                                       setting.sinks.empty() ? std::vector<float>{0.0F} : setting.sinks);
        const auto step = test::step_at(stream, c.first_position);
        const std::int64_t bound = n_positions + setting.slack;
        const DeviceArray<float> device_scratch(
            stream, static_cast<std::size_t>(gqa_scratch_floats(shape, c.n_tokens, bound) + 1));
        gqa_attention(stream, out.matrix(c.n_tokens, out_cols), device_q.matrix(c.n_tokens, q_cols),
                      keys.device(), values.device(), step.data(), bound, shape,
                      {sinks.data(), setting.sinks.size()}, {device_scratch.data(), device_scratch.size()});
        EXPECT_LE(test::relative_difference(out.download(), expected),
                  std::max(test::attention_tolerance(setting.key_type),
                           test::attention_tolerance(setting.value_type)))
            << "first position " << c.first_position << ", " << c.n_tokens << " tokens";
    }
};

GqaShape shape_of(int n_heads, int n_kv_heads, int head_dim, int value_dim) {
    GqaShape shape;
    shape.n_heads = n_heads;
    shape.n_kv_heads = n_kv_heads;
    shape.head_dim = head_dim;
    shape.value_dim = value_dim;
    shape.scale = 0.2F;
    return shape;
}

TEST_P(GqaTest, OneTokenAtAnyPosition) {
    for (const std::int64_t first : {0, 1, 31, 32, 33, 255, 256, 300, 600})
        expect_as_on_cpu(shape_of(6, 2, 20, 12), {first, 1});
}

TEST_P(GqaTest, PromptsOfOddLengths) {
    for (const Case c : {Case{0, 1}, Case{0, 2}, Case{0, 17}, Case{0, 33}, Case{250, 13}, Case{30, 70}})
        expect_as_on_cpu(shape_of(6, 2, 20, 12), c);
}

TEST_P(GqaTest, TilesOfEverySizeAndHeadsOfEveryWidth) {
    // Queries per kv head: 3, 9, 24, and several tiles of them.
    for (const std::int64_t n_tokens : {1, 3, 8, 23}) {
        expect_as_on_cpu(shape_of(6, 2, 64, 64), {40, n_tokens});
        expect_as_on_cpu(shape_of(3, 1, 80, 128), {40, n_tokens});
    }
    for (const std::int64_t n_tokens : {1, 5, 11}) expect_as_on_cpu(shape_of(3, 1, 256, 192), {10, n_tokens});
    expect_as_on_cpu(shape_of(1, 1, 7, 3), {5, 2});
}

TEST_P(GqaTest, CachesOfEveryType) {
    for (const Type type : {Type::F16, Type::BF16, Type::Q8_0, Type::Q4_0}) {
        Setting setting;
        setting.key_type = setting.value_type = type;
        expect_as_on_cpu(shape_of(4, 2, 64, 32), {70, 1}, setting);
        expect_as_on_cpu(shape_of(4, 2, 64, 32), {3, 40}, setting);
    }
    Setting mixed;
    mixed.key_type = Type::Q8_0;
    mixed.value_type = Type::Q4_0;
    expect_as_on_cpu(shape_of(4, 2, 32, 64), {300, 2}, mixed);
    // Of 16 bits too a row need not be a multiple of 8 bytes.
    Setting half;
    half.key_type = half.value_type = Type::F16;
    expect_as_on_cpu(shape_of(3, 3, 7, 5), {20, 3}, half);
}

TEST_P(GqaTest, WindowsThatWrapAroundARing) {
    GqaShape shape = shape_of(4, 2, 20, 20);
    for (const std::int64_t window : {1, 5, 33, 300}) {
        shape.window = window;
        Setting ring;
        ring.n_rows = window + 12;
        for (const Case c : {Case{0, 1}, Case{3, 5}, Case{window, 1}, Case{613, 1}, Case{500, 9}})
            expect_as_on_cpu(shape, c, ring);
        expect_as_on_cpu(shape, {40, 40});
    }
}

TEST_P(GqaTest, ChunksAndTheirBorders) {
    GqaShape shape = shape_of(4, 2, 20, 20);
    for (const std::int64_t chunk : {1, 32, 50, 300}) {
        shape.chunk = chunk;
        for (const Case c : {Case{chunk - 1, 1}, Case{chunk, 1}, Case{2 * chunk - 1, 4}, Case{590, 20}})
            expect_as_on_cpu(shape, c);
    }
}

TEST_P(GqaTest, SinksTakeTheirShare) {
    Setting setting;
    setting.sinks = {-3.0F, 0.0F, 2.0F, 300.0F};  // nothing is left beside the last
    expect_as_on_cpu(shape_of(4, 2, 20, 20), {0, 1}, setting);
    expect_as_on_cpu(shape_of(4, 2, 20, 20), {270, 2}, setting);
    expect_as_on_cpu(shape_of(4, 2, 20, 20), {0, 50}, setting);
}

TEST_P(GqaTest, ManyTilesAreNotSplit) { expect_as_on_cpu(shape_of(128, 128, 4, 4), {20, 3}); }

TEST_P(GqaTest, TheBoundMayBeFarAboveThePositions) {
    Setting setting;
    setting.slack = 5000;
    expect_as_on_cpu(shape_of(4, 2, 20, 20), {0, 1}, setting);
    expect_as_on_cpu(shape_of(4, 2, 20, 20), {300, 3}, setting);
}

TEST_P(GqaTest, EqualScoresGiveTheMeanAndLargeOnesDoNotOverflow) {
    Stream stream;
    const GqaShape shape = shape_of(1, 1, 4, 4);
    const test::DeviceCache keys(stream, Type::F32, 400, 4, std::vector<float>(1600, 1000.0F));
    std::vector<float> v(1600);
    for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i / 4 % 2);
    const test::DeviceCache values(stream, Type::F32, 400, 4, v);
    const DeviceArray<float> q(stream, std::vector<float>(4, 1000.0F));
    const DeviceArray<float> out(stream, 4);
    const auto step = test::step_at(stream, 399);
    const DeviceArray<float> scratch(stream, static_cast<std::size_t>(gqa_scratch_floats(shape, 1, 400)));
    gqa_attention(stream, out.matrix(1, 4), q.matrix(1, 4), keys.device(), values.device(), step.data(), 400,
                  shape, {}, {scratch.data(), scratch.size()});
    EXPECT_EQ(out.download(), std::vector<float>(4, 0.5F));
}

TEST_P(GqaTest, ARowThatAQueryDoesNotSeeMayHoldAnything) {
    Stream stream;
    const GqaShape shape = shape_of(1, 1, 4, 4);
    constexpr float kInf = std::numeric_limits<float>::infinity();
    std::vector<float> k(12, 1.0F);
    std::vector<float> v(12, 2.0F);
    std::fill(k.begin() + 8, k.end(), kInf);
    std::fill(v.begin() + 8, v.end(), kInf);
    const test::DeviceCache keys(stream, Type::F32, 3, 4, k);
    const test::DeviceCache values(stream, Type::F32, 3, 4, v);
    const DeviceArray<float> q(stream, std::vector<float>(12, 1.0F));
    const DeviceArray<float> out(stream, 12);
    const auto step = test::step_at(stream, 0);
    gqa_attention(stream, out.matrix(3, 4), q.matrix(3, 4), keys.device(), values.device(), step.data(), 3,
                  shape, {}, {});
    auto first_two = out.download();
    first_two.resize(8);
    EXPECT_EQ(first_two, std::vector<float>(8, 2.0F));
}

TEST_P(GqaTest, ACapturedGraphFollowsThePosition) {
    Stream stream;
    cpu::ThreadTeam team(1);
    const GqaShape shape = shape_of(4, 2, 20, 20);
    const cpu::Scratch cpu_scratch(1, cpu::attention_scratch_floats(20));
    constexpr std::int64_t kBound = 600;
    const test::DeviceCache keys(stream, Type::F16, kBound, 20, random_floats(kBound * 40, 54), 2);
    const test::DeviceCache values(stream, Type::F16, kBound, 20, random_floats(kBound * 40, 55), 2);
    const auto q = random_floats(80, 56);
    const DeviceArray<float> device_q(stream, q);
    const DeviceArray<float> out(stream, 80);
    const DeviceArray<float> scratch(stream, static_cast<std::size_t>(gqa_scratch_floats(shape, 1, kBound)));
    const auto step = test::step_at(stream, 0);
    Capture capture(stream);
    gqa_attention(stream, out.matrix(1, 80), device_q.matrix(1, 80), keys.device(), values.device(),
                  step.data(), kBound, shape, {}, {scratch.data(), scratch.size()});
    const Graph graph = capture.finish();
    for (const std::int32_t position : {599, 0, 256, 77}) {
        const StepState state{position, 1};
        copy_to_device(stream, step.data(), &state, sizeof state);
        graph.launch(stream);
        std::vector<float> expected(80);
        cpu::gqa_attention(team, cpu_scratch, {expected.data(), 1, 80, 80}, {q.data(), 1, 80, 80},
                           keys.host(), values.host(), position, shape, {});
        EXPECT_LE(test::relative_difference(out.download(), expected), kTolerance) << position;
    }
}

GR_RUN_IN_LANE_ORDERS(GqaTest);

}  // namespace
}  // namespace greenroom::gpu
