// Routed experts against the formula in double: experts without calls, all calls on one expert, one token.

#include "cpu/expert_ffn.h"

#include "cpu/activation.h"
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

constexpr std::int64_t kModel = 24;
constexpr std::int64_t kDff = 10;
constexpr int kExperts = 4;
constexpr int kTopK = 2;

TensorView float_stack(const std::vector<float>& values, std::int64_t n_in, std::int64_t n_out) {
    return {
        quant::Type::F32, 3, {n_in, n_out, kExperts, 1}, reinterpret_cast<const std::byte*>(values.data())};
}

double dot(const float* a, const auto* b, std::int64_t n) {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

TEST(ExpertFfn, BiasesInputFactorsAndActivationAreThoseOfTheModel) {
    const auto gate = test::random_floats(kExperts * kDff * kModel, 1, 0.3F);
    const auto up = test::random_floats(kExperts * kDff * kModel, 2, 0.3F);
    const auto down = test::random_floats(kExperts * kModel * kDff, 3, 0.3F);
    const auto gate_bias = test::random_floats(kDff, 6);
    const auto up_bias = test::random_floats(kDff, 7);
    const auto down_bias = test::random_floats(kModel, 8);
    const auto x = test::random_floats(2 * kModel, 4);
    const std::vector<float> input_factors = {0.5F, 2.0F};
    const std::vector<std::int32_t> calls = {0, 1};  // both tokens call expert 2
    const ExpertTask task{float_stack(gate, kModel, kDff).matrix(2),
                          float_stack(up, kModel, kDff).matrix(2),
                          float_stack(down, kDff, kModel).matrix(2),
                          calls,
                          gate_bias.data(),
                          up_bias.data(),
                          down_bias.data()};

    ThreadTeam team(2);
    const Scratch scratch(team.size(), std::max(tile_floats(kModel), tile_floats(kDff)));
    std::vector<float> results(2 * kModel);
    std::vector<float> hidden(2 * kDff);
    run_experts(team, scratch, {}, {results.data(), 2, kModel, kModel}, {hidden.data(), 2, kDff, kDff},
                {x.data(), 2, kModel, kModel}, 1, Glu::clamped_swiglu, input_factors, {&task, 1});
    for (std::size_t t = 0; t < 2; ++t) {
        std::vector<double> h;
        for (std::int64_t r = 0; r < kDff; ++r) {
            const auto row = static_cast<std::size_t>((2 * kDff + r) * kModel);
            const auto at = static_cast<std::size_t>(r);
            const double g = input_factors[t] * dot(&x[t * kModel], &gate[row], kModel) + gate_bias[at];
            const double u = input_factors[t] * dot(&x[t * kModel], &up[row], kModel) + up_bias[at];
            const double cut = std::min(g, 7.0);
            h.push_back(cut / (1 + std::exp(-1.702 * cut)) * (std::min(std::max(u, -7.0), 7.0) + 1));
        }
        for (std::int64_t r = 0; r < kModel; ++r) {
            const double expected =
                dot(&down[static_cast<std::size_t>((2 * kModel + r) * kDff)], h.data(), kDff) +
                down_bias[static_cast<std::size_t>(r)];
            EXPECT_NEAR(results[t * kModel + static_cast<std::size_t>(r)], expected,
                        1e-5 * (1 + std::abs(expected)));
        }
    }
}

TEST(ExpertFfn, ResultsAreTheWeightedNetworksOfTheChosenExperts) {
    const auto gate = test::random_floats(kExperts * kDff * kModel, 1, 0.3F);
    const auto up = test::random_floats(kExperts * kDff * kModel, 2, 0.3F);
    const auto down = test::random_floats(kExperts * kModel * kDff, 3, 0.3F);
    const TensorView gates = float_stack(gate, kModel, kDff);
    const TensorView ups = float_stack(up, kModel, kDff);
    const TensorView downs = float_stack(down, kDff, kModel);
    const std::vector<std::vector<std::int32_t>> choices = {
        {3, 1},                    // one token
        {0, 1, 0, 2, 0, 1, 0, 3},  // everybody wants expert 0
        {2, 0, 0, 2, 2, 0},        // experts 1 and 3 are not called
    };
    for (const int n_threads : {1, 3})
        for (const auto& experts : choices) {
            ThreadTeam team(n_threads);
            const Scratch scratch(team.size(), std::max(tile_floats(kModel), tile_floats(kDff)));
            const auto n_calls = static_cast<std::int64_t>(experts.size());
            const std::int64_t n_tokens = n_calls / kTopK;
            const auto x = test::random_floats(n_tokens * kModel, 4);
            const auto factors = test::random_floats(n_calls, 5);

            std::vector<std::vector<std::int32_t>> calls(kExperts);
            for (std::size_t c = 0; c < experts.size(); ++c)
                calls[static_cast<std::size_t>(experts[c])].push_back(static_cast<std::int32_t>(c));
            std::vector<ExpertTask> tasks;
            for (int e = 0; e < kExperts; ++e)
                if (const auto& served = calls[static_cast<std::size_t>(e)]; !served.empty())
                    tasks.push_back({gates.matrix(e), ups.matrix(e), downs.matrix(e), served});

            std::vector<float> results(static_cast<std::size_t>(n_calls * kModel));
            std::vector<float> hidden(static_cast<std::size_t>(n_calls * kDff));
            std::vector<float> out(static_cast<std::size_t>(n_tokens * kModel), 1.0F);
            run_experts(team, scratch, {}, {results.data(), n_calls, kModel, kModel},
                        {hidden.data(), n_calls, kDff, kDff}, {x.data(), n_tokens, kModel, kModel}, kTopK,
                        Glu::silu, {}, tasks);
            add_weighted(team, {out.data(), n_tokens, kModel, kModel},
                         {results.data(), n_calls, kModel, kModel}, factors, kTopK);

            for (std::int64_t t = 0; t < n_tokens; ++t) {
                std::vector<double> expected(kModel, 1.0);
                for (int k = 0; k < kTopK; ++k) {
                    const auto call = static_cast<std::size_t>(t * kTopK + k);
                    const std::int64_t e = experts[call];
                    std::vector<double> h;
                    for (std::int64_t r = 0; r < kDff; ++r) {
                        const auto row = static_cast<std::size_t>((e * kDff + r) * kModel);
                        const double g = dot(&x[static_cast<std::size_t>(t * kModel)], &gate[row], kModel);
                        h.push_back(g / (1 + std::exp(-g)) *
                                    dot(&x[static_cast<std::size_t>(t * kModel)], &up[row], kModel));
                    }
                    for (std::int64_t r = 0; r < kModel; ++r)
                        expected[static_cast<std::size_t>(r)] +=
                            factors[call] *
                            dot(&down[static_cast<std::size_t>((e * kModel + r) * kDff)], h.data(), kDff);
                }
                for (std::int64_t r = 0; r < kModel; ++r)
                    EXPECT_NEAR(out[static_cast<std::size_t>(t * kModel + r)],
                                expected[static_cast<std::size_t>(r)],
                                1e-5 * (1 + std::abs(expected[static_cast<std::size_t>(r)])));
            }
        }
}

// Gate and up are quantized, down is not: the parts of one task may go different ways. Each product is that
// of matmul() with the same buffer.
TEST(ExpertFfn, InIntegersProductsAreThoseOfMatmul) {
    constexpr std::int64_t n_model = 64;
    constexpr std::int64_t n_ff = 96;
    constexpr std::int64_t n_tokens = 3;
    ThreadTeam team(2);
    const Scratch scratch(team.size(), tile_floats(n_ff));
    const ActivationBuffer buffer(expert_activation_blocks(n_tokens, n_model, 1, n_ff));
    for (const quant::Type down_type : {quant::Type::Q4_0, quant::Type::F16}) {
        const test::RandomTensor gate(quant::Type::Q8_0, n_model, n_ff, 1, 20);
        const test::RandomTensor up(quant::Type::Q5_1, n_model, n_ff, 1, 21);
        const test::RandomTensor down(down_type, n_ff, n_model, 1, 22);
        auto x = test::random_floats(n_tokens * n_model, 23, 0.01F);
        const std::vector<std::int32_t> calls = {0, 1, 2};
        const ExpertTask task{gate.view.matrix(0), up.view.matrix(0), down.view.matrix(0), calls};
        std::vector<float> results(n_tokens * n_model);
        std::vector<float> hidden(n_tokens * n_ff);
        run_experts(team, scratch, buffer, {results.data(), n_tokens, n_model, n_model},
                    {hidden.data(), n_tokens, n_ff, n_ff}, {x.data(), n_tokens, n_model, n_model}, 1,
                    Glu::silu, {}, {&task, 1});

        std::vector<float> gates(n_tokens * n_ff);
        std::vector<float> ups(n_tokens * n_ff);
        std::vector<float> expected(n_tokens * n_model);
        const MatrixView gates_view{gates.data(), n_tokens, n_ff, n_ff};
        matmul(team, scratch, buffer,
               {{gates_view, task.gate}, {{ups.data(), n_tokens, n_ff, n_ff}, task.up}},
               {x.data(), n_tokens, n_model, n_model});
        kernels().glu(Glu::silu, gates.data(), gates.data(), ups.data(), n_tokens * n_ff);
        matmul(team, scratch, buffer, {{{expected.data(), n_tokens, n_model, n_model}, task.down}},
               gates_view);
        EXPECT_EQ(hidden, gates);
        EXPECT_EQ(results, expected);
    }
}

}  // namespace
}  // namespace greenroom::cpu
