// Gated DeltaNet on the GPU against the CPU's.

#include "gpu/kernels/deltanet.h"

#include "cpu/delta_net.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/device_cache.h"
#include "tests/gpu/lane_orders.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::random_floats;
using test::DeviceArray;
using test::relative_difference;

class CausalConvTest : public test::GpuTest {};

TEST_P(CausalConvTest, IsThatOfTheCpuForAnyWidthAndNumberOfTokens) {
    Stream stream;
    cpu::ThreadTeam team(1);
    constexpr std::int64_t kChannels = 133;
    for (const std::int64_t width : {1, 2, 4, 5, 16})
        for (const std::int64_t n_tokens : {1, 2, 7, 8, 9, 25}) {
            const auto weight = random_floats(kChannels * width, 71, 0.3F);
            const auto state = random_floats(kChannels * (width - 1), 72);
            auto expected = random_floats(kChannels * n_tokens, 73);
            const DeviceArray<float> x(stream, expected);
            const DeviceArray<float> device_weight(stream, weight);
            const DeviceArray<float> device_state(stream, state);
            const DeviceArray<float> device_next(stream, state.size());
            std::vector<float> next(state.size());
            cpu::causal_conv(team, {expected.data(), n_tokens, kChannels, kChannels}, weight, state, next);
            causal_conv(stream, x.matrix(n_tokens, kChannels), {device_weight.data(), weight.size()},
                        {device_state.data(), state.size()}, {device_next.data(), state.size()});
            // Up to 16 products, fused or not, and e^x of another library.
            EXPECT_LE(relative_difference(x.download(), expected), 2e-6) << width << ", " << n_tokens;
            EXPECT_EQ(device_next.download(), next);
        }
}

TEST_P(CausalConvTest, AStateInPlaceAndAnyBatchGiveTheSameBits) {
    Stream stream;
    constexpr std::int64_t kChannels = 40;
    const auto input = random_floats(kChannels * 20, 74);
    const DeviceArray<float> weight(stream, random_floats(kChannels * 4, 75));
    const DeviceArray<float> whole(stream, input);
    const DeviceArray<float> pieces(stream, input);
    const DeviceArray<float> state(stream, std::vector<float>(kChannels * 3));
    const DeviceArray<float> start(stream, std::vector<float>(kChannels * 3));
    const DeviceArray<float> end(stream, kChannels * 3);
    causal_conv(stream, whole.matrix(20, kChannels), {weight.data(), weight.size()},
                {start.data(), start.size()}, {end.data(), end.size()});
    for (const std::int64_t first : {0, 1, 4, 14}) {
        const std::int64_t n = first == 0 ? 1 : first == 1 ? 3 : first == 4 ? 10 : 6;
        causal_conv(stream, pieces.matrix(20, kChannels).rows(first, n), {weight.data(), weight.size()},
                    {state.data(), state.size()}, {state.data(), state.size()});
    }
    EXPECT_EQ(pieces.download(), whole.download());
    EXPECT_EQ(state.download(), end.download());
}

class DeltaRuleTest : public test::GpuTest {
  protected:
    static DeltaNetShape shape_of(int n_key_heads, int n_value_heads, int key_dim, int value_dim) {
        DeltaNetShape shape;
        shape.n_key_heads = n_key_heads;
        shape.n_value_heads = n_value_heads;
        shape.key_dim = key_dim;
        shape.value_dim = value_dim;
        return shape;
    }

    static void expect_as_on_cpu(const DeltaNetShape& shape, std::int64_t n_tokens) {
        Stream stream;
        cpu::ThreadTeam team(1);
        auto qkv = random_floats(n_tokens * shape.channels(), 81);
        const auto gates = random_floats(n_tokens * 2 * shape.n_value_heads, 82);
        auto a = random_floats(shape.n_value_heads, 83);
        for (float& v : a) v = -std::abs(v) * 0.3F;
        const auto dt_bias = random_floats(shape.n_value_heads, 84);
        const auto state = random_floats(shape.head_state_values(), 85, 0.2F);
        const DeviceArray<float> device_qkv(stream, qkv);
        const DeviceArray<float> device_gates(stream, gates);
        const DeviceArray<float> device_a(stream, a);
        const DeviceArray<float> device_bias(stream, dt_bias);
        const DeviceArray<float> device_state(stream, state);
        const DeviceArray<float> device_next(stream, state.size());
        const DeviceArray<float> out(stream, static_cast<std::size_t>(n_tokens * shape.value_cols()));

        std::vector<float> next(state.size());
        std::vector<float> expected(out.size());
        cpu::delta_rule(team, {expected.data(), n_tokens, shape.value_cols(), shape.value_cols()},
                        {qkv.data(), n_tokens, shape.channels(), shape.channels()},
                        {gates.data(), n_tokens, 2 * shape.n_value_heads, 2 * shape.n_value_heads}, a,
                        dt_bias, 1e-6F, state, next, shape);
        delta_rule(stream, out.matrix(n_tokens, shape.value_cols()),
                   device_qkv.matrix(n_tokens, shape.channels()),
                   device_gates.matrix(n_tokens, 2 * shape.n_value_heads), {device_a.data(), a.size()},
                   {device_bias.data(), a.size()}, 1e-6F, {device_state.data(), state.size()},
                   {device_next.data(), state.size()}, shape);
        // Sums of up to 256 terms in another order, carried on by up to 12 tokens.
        EXPECT_LE(relative_difference(out.download(), expected), 1e-5);
        EXPECT_LE(relative_difference(device_next.download(), next), 1e-5);
        EXPECT_LE(relative_difference(device_qkv.download(), qkv), 1e-6);
        EXPECT_EQ(device_state.download(), state);  // the old one stays whole
    }
};

TEST_P(DeltaRuleTest, IsThatOfTheCpuForEverySharingAndOrder) {
    for (const auto sharing :
         {DeltaNetShape::KeySharing::consecutive, DeltaNetShape::KeySharing::round_robin})
        for (const auto order :
             {DeltaNetShape::GateOrder::betas_then_alphas, DeltaNetShape::GateOrder::by_key_head}) {
            DeltaNetShape shape = shape_of(2, 6, 20, 18);
            shape.sharing = sharing;
            shape.gate_order = order;
            expect_as_on_cpu(shape, 1);
            expect_as_on_cpu(shape, 12);
        }
}

TEST_P(DeltaRuleTest, HeadsOfEveryWidth) {
    expect_as_on_cpu(shape_of(1, 1, 1, 1), 3);
    expect_as_on_cpu(shape_of(1, 2, 33, 5), 3);
    expect_as_on_cpu(shape_of(1, 2, 128, 17), 3);
    expect_as_on_cpu(shape_of(1, 1, 256, 32), 2);
}

TEST_P(DeltaRuleTest, AStateInPlaceAndAnyBatchGiveTheSameBits) {
    Stream stream;
    const DeltaNetShape shape = shape_of(1, 2, 20, 18);
    constexpr std::int64_t kTokens = 7;
    const auto qkv = random_floats(kTokens * shape.channels(), 86);
    const DeviceArray<float> whole(stream, qkv);
    const DeviceArray<float> pieces(stream, qkv);
    const DeviceArray<float> gates(stream, random_floats(kTokens * 4, 87));
    const DeviceArray<float> a(stream, std::vector<float>{-0.1F, -0.7F});
    const DeviceArray<float> bias(stream, std::vector<float>{0.3F, 30.0F});
    const DeviceArray<float> start(stream, std::vector<float>(720));
    const DeviceArray<float> end(stream, 720);
    const DeviceArray<float> state(stream, std::vector<float>(720));
    const DeviceArray<float> out(stream, kTokens * 36);
    const DeviceArray<float> out_pieces(stream, kTokens * 36);
    delta_rule(stream, out.matrix(kTokens, 36), whole.matrix(kTokens, shape.channels()),
               gates.matrix(kTokens, 4), {a.data(), 2}, {bias.data(), 2}, 1e-6F, {start.data(), 720},
               {end.data(), 720}, shape);
    for (const std::int64_t first : {0, 1, 4}) {
        const std::int64_t n = first == 0 ? 1 : 3;
        delta_rule(stream, out_pieces.matrix(kTokens, 36).rows(first, n),
                   pieces.matrix(kTokens, shape.channels()).rows(first, n),
                   gates.matrix(kTokens, 4).rows(first, n), {a.data(), 2}, {bias.data(), 2}, 1e-6F,
                   {state.data(), 720}, {state.data(), 720}, shape);
    }
    EXPECT_EQ(out_pieces.download(), out.download());
    EXPECT_EQ(state.download(), end.download());
}

GR_RUN_IN_LANE_ORDERS(CausalConvTest);
GR_RUN_IN_LANE_ORDERS(DeltaRuleTest);

}  // namespace
}  // namespace greenroom::gpu
