// Products against sums in double over the decoded weights, for every type that can be decoded.

#include "cpu/matmul.h"

#include "cpu/row_run.h"
#include "tests/support/random_data.h"
#include "tests/support/random_tensor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace greenroom::cpu {
namespace {

using quant::Type;
using test::RandomTensor;

constexpr Type kTypes[] = {Type::F32,     Type::F16,   Type::BF16,   Type::Q4_0,    Type::Q4_1,   Type::Q5_0,
                           Type::Q5_1,    Type::Q8_0,  Type::Q2_K,   Type::Q3_K,    Type::Q4_K,   Type::Q5_K,
                           Type::Q6_K,    Type::IQ1_S, Type::IQ1_M,  Type::IQ2_XXS, Type::IQ2_XS, Type::IQ2_S,
                           Type::IQ3_XXS, Type::IQ3_S, Type::IQ4_NL, Type::IQ4_XS,  Type::TQ1_0,  Type::TQ2_0,
                           Type::MXFP4,   Type::NVFP4};

void expect_dot(const double* w, const float* x, std::int64_t n, float found) {
    double sum = 0;
    double magnitude = 0;
    for (std::int64_t i = 0; i < n; ++i) {
        sum += w[i] * x[i];
        magnitude += std::abs(w[i] * x[i]);
    }
    EXPECT_NEAR(found, sum, 1e-6 * magnitude + 1e-30);
}

class MatmulOf : public testing::TestWithParam<Type> {};

TEST_P(MatmulOf, EveryOutputIsItsDotProduct) {
    constexpr std::int64_t n_in = 512;
    constexpr std::int64_t n_out = 21;  // no multiple of the tile
    ThreadTeam team(2);
    const Scratch scratch(team.size(), tile_floats(n_in));
    const RandomTensor w(GetParam(), n_in, n_out, 1, 7);
    const auto reference = w.decoded();
    for (const std::int64_t n_tokens : {1, 4, 6}) {
        const auto x = test::random_floats(n_tokens * n_in, 8);
        std::vector<float> out(static_cast<std::size_t>(n_tokens * n_out));
        matmul(team, scratch, {}, {{{out.data(), n_tokens, n_out, n_out}, w.view}},
               {x.data(), n_tokens, n_in, n_in});
        for (std::int64_t t = 0; t < n_tokens; ++t)
            for (std::int64_t r = 0; r < n_out; ++r)
                expect_dot(&reference[static_cast<std::size_t>(r * n_in)],
                           &x[static_cast<std::size_t>(t * n_in)], n_in,
                           out[static_cast<std::size_t>(t * n_out + r)]);
    }
}

// The kernels are tested by themselves; here, that each output is its row's and its token's, whatever the
// batch and the number of threads. The bound: half a scale, which is an 16256st of the largest of 256.
TEST_P(MatmulOf, InIntegersEveryOutputIsNearAndDependsOnItsRowAndTokenOnly) {
    constexpr std::int64_t n_in = 512;
    constexpr std::int64_t n_out = 37;     // two whole tiles and some rows
    constexpr std::int64_t n_tokens = 11;  // enough for a panel
    const RandomTensor w(GetParam(), n_in, n_out, 1, 12);
    const auto reference = w.decoded();
    const auto x = test::random_floats(n_tokens * n_in, 13);
    const auto product = [&](int n_threads, std::int64_t first, std::int64_t n) {
        ThreadTeam team(n_threads);
        const Scratch scratch(team.size(), tile_floats(n_in));
        const ActivationBuffer buffer(n * activation_blocks(n_in));
        std::vector<float> out(static_cast<std::size_t>(n * n_out));
        matmul(team, scratch, buffer, {{{out.data(), n, n_out, n_out}, w.view}},
               {x.data() + first * n_in, n, n_in, n_in});
        return out;
    };
    const auto all = product(2, 0, n_tokens);
    EXPECT_EQ(product(1, 0, n_tokens), all);
    for (std::int64_t t = 0; t < n_tokens; ++t) {
        const auto alone = product(3, t, 1);
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + t * n_out));
        for (std::int64_t r = 0; r < n_out; ++r) {
            double sum = 0;
            double bound = 1e-30;
            for (std::int64_t i = 0; i < n_in; ++i) {
                const double weight = reference[static_cast<std::size_t>(r * n_in + i)];
                const auto group = x.begin() + t * n_in + i / 256 * 256;
                const double largest = std::abs(*std::max_element(
                    group, group + 256, [](float a, float b) { return std::abs(a) < std::abs(b); }));
                sum += weight * x[static_cast<std::size_t>(t * n_in + i)];
                bound += std::abs(weight) * largest * (0.501 / 16256 + 1e-6);
            }
            EXPECT_NEAR(all[static_cast<std::size_t>(t * n_out + r)], sum, bound);
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Type, MatmulOf, testing::ValuesIn(kTypes),
                         [](const auto& param) { return std::string(quant::type_name(param.param)); });

// Of other sizes and types, with and without a kernel for integers; few rows, and more rows and tokens than
// threads take at a time.
TEST(Matmul, ProductsTogetherAreThoseAlone) {
    constexpr std::int64_t n_in = 512;
    const RandomTensor large(Type::Q4_K, n_in, 2100, 1, 21);
    const RandomTensor small(Type::Q6_K, n_in, 5, 1, 22);
    const RandomTensor floats(Type::F32, n_in, 40, 1, 23);
    for (const std::int64_t n_tokens : {1, 2, 3, 9, 300})
        for (const int n_threads : {1, 2, 3}) {
            if (n_tokens > 100 && n_threads != 2) continue;  // takes seconds where AMX is emulated
            ThreadTeam team(n_threads);
            const Scratch scratch(team.size(), tile_floats(n_in));
            const ActivationBuffer buffer(n_tokens * activation_blocks(n_in));
            const auto x = test::random_floats(n_tokens * n_in, 24);
            const ConstMatrixView vectors{x.data(), n_tokens, n_in, n_in};
            std::vector<std::vector<float>> together;
            std::vector<std::vector<float>> alone;
            std::vector<Product> products;
            for (const RandomTensor* w : {&large, &small, &floats}) {
                const std::int64_t n_out = w->view.shape[1];
                const auto n = static_cast<std::size_t>(n_tokens * n_out);
                together.emplace_back(n);
                alone.emplace_back(n);
                products.push_back({{together.back().data(), n_tokens, n_out, n_out}, w->view});
                matmul(team, scratch, buffer, {{{alone.back().data(), n_tokens, n_out, n_out}, w->view}},
                       vectors);
            }
            matmul(team, scratch, buffer, {products[0], products[1], products[2]}, vectors);
            EXPECT_EQ(together, alone) << n_tokens << " tokens, " << n_threads << " threads";
        }
}

// Long rows, of which fewer vectors are packed at a time, and short ones.
TEST(Matmul, MoreTokensThanAreTakenAtATimeGiveWhatEachDoes) {
    struct Case {
        std::int64_t n_in;
        std::int64_t n_tokens;
    };
    for (const auto& [n_in, n_tokens] : {Case{10240, 163}, Case{512, 530}}) {
        constexpr std::int64_t n_out = 70;
        const RandomTensor w(Type::Q4_K, n_in, n_out, 1, 31);
        const auto x = test::random_floats(n_tokens * n_in, 32);
        ThreadTeam team(2);
        const Scratch scratch(team.size(), tile_floats(n_in));
        const auto product = [&](std::int64_t first, std::int64_t n) {
            const ActivationBuffer buffer(n * activation_blocks(n_in));
            std::vector<float> out(static_cast<std::size_t>(n * n_out));
            matmul(team, scratch, buffer, {{{out.data(), n, n_out, n_out}, w.view}},
                   {x.data() + first * n_in, n, n_in, n_in});
            return out;
        };
        const auto all = product(0, n_tokens);
        for (std::int64_t t = 0; t < n_tokens; ++t) {
            const auto alone = product(t, 1);
            ASSERT_TRUE(std::equal(alone.begin(), alone.end(), all.begin() + t * n_out))
                << "token " << t << " of " << n_tokens << ", rows of " << n_in;
        }
    }
}

// Also of more tokens than threads take at a time.
TEST(MatmulHeads, EachHeadHasItsMatrixAndItsStrides) {
    constexpr std::int64_t n_in = 32;
    constexpr std::int64_t n_out = 19;
    constexpr std::int64_t n_heads = 3;
    constexpr std::int64_t x_stride = 40;
    constexpr std::int64_t out_stride = 25;
    ThreadTeam team(2);
    const Scratch scratch(team.size(), tile_floats(n_in));
    const RandomTensor w(Type::Q8_0, n_in, n_out, n_heads, 9);
    const auto reference = w.decoded();
    for (const std::int64_t n_tokens : {5, 300}) {
        // Integers up to 16256, and one of 16256 in every head: they are exact.
        auto x = test::random_floats(n_tokens * n_heads * x_stride, 10);
        for (std::size_t i = 0; i < x.size(); ++i)
            x[i] = i % x_stride == 7 ? 16256.0F : std::clamp(std::round(3000 * x[i]), -16256.0F, 16256.0F);
        for (const ActivationBuffer& buffer : {ActivationBuffer(), ActivationBuffer(n_tokens * n_heads)}) {
            std::vector<float> out(static_cast<std::size_t>(n_tokens * n_heads * out_stride), -1.0F);
            matmul_heads(team, scratch, buffer,
                         {out.data(), n_tokens, n_heads * out_stride, n_heads * out_stride}, out_stride,
                         w.view, {x.data(), n_tokens, n_heads * x_stride, n_heads * x_stride}, x_stride);
            for (std::int64_t t = 0; t < n_tokens; ++t)
                for (std::int64_t h = 0; h < n_heads; ++h) {
                    const float* found = &out[static_cast<std::size_t>((t * n_heads + h) * out_stride)];
                    for (std::int64_t r = 0; r < n_out; ++r)
                        expect_dot(&reference[static_cast<std::size_t>((h * n_out + r) * n_in)],
                                   &x[static_cast<std::size_t>((t * n_heads + h) * x_stride)], n_in,
                                   found[r]);
                    for (std::int64_t r = n_out; r < out_stride; ++r)
                        EXPECT_EQ(found[r], -1.0F) << "between heads";
                }
        }
    }
}

TEST(Embed, RowsAreDecoded) {
    const RandomTensor table(Type::Q4_K, 256, 10, 1, 11);
    const auto reference = table.decoded();
    const std::int32_t ids[] = {9, 0, 9, 4};
    std::vector<float> out(4 * 256);
    ThreadTeam team(1);
    embed(team, {out.data(), 4, 256, 256}, table.view, ids);
    for (std::size_t t = 0; t < 4; ++t)
        for (std::size_t i = 0; i < 256; ++i)
            EXPECT_EQ(out[t * 256 + i],
                      static_cast<float>(reference[static_cast<std::size_t>(ids[t]) * 256 + i]));
}

}  // namespace
}  // namespace greenroom::cpu
