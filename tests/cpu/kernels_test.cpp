// SIMD kernels against their scalar reference, on every ISA of this CPU and every awkward length.

#include "cpu/kernels.h"

#include "cpu/delta_steps.h"
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

constexpr std::int64_t kLongest = 300;

// n · 2^-24 · Σ|a·b| bounds the rounding of any order of summation in float32.
double tolerance(const float* a, const float* b, std::int64_t n) {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += std::abs(static_cast<double>(a[i]) * b[i]);
    return static_cast<double>(n + 1) * std::ldexp(sum, -24);
}

class KernelsOf : public testing::TestWithParam<Isa> {
  protected:
    const Kernels& k = kernels(GetParam());
    const Kernels& reference = kernels(Isa::scalar);
};

TEST_P(KernelsOf, DotIsTheReferencesForEveryLengthAndAlignment) {
    const auto a = test::random_floats(kLongest + 3, 1);
    const auto b = test::random_floats(kLongest + 3, 2);
    for (std::int64_t n = 0; n <= kLongest; ++n)
        for (std::int64_t shift = 0; shift < 3; ++shift)
            EXPECT_NEAR(k.dot_f32(&a[shift], &b[0], n), reference.dot_f32(&a[shift], &b[0], n),
                        tolerance(&a[shift], &b[0], n))
                << "n = " << n;
}

TEST_P(KernelsOf, DotOfFourIsBitForBitFourDots) {
    const auto a = test::random_floats(kLongest, 3);
    const auto b = test::random_floats(kVectors * kLongest, 4);
    for (std::int64_t n = 0; n <= kLongest; ++n) {
        const float* vectors[kVectors];
        for (int j = 0; j < kVectors; ++j) vectors[j] = &b[static_cast<std::size_t>(j * kLongest)];
        float dots[kVectors];
        k.dot_f32_x4(a.data(), vectors, n, dots);
        for (int j = 0; j < kVectors; ++j)
            EXPECT_EQ(dots[j], k.dot_f32(a.data(), vectors[j], n)) << "n = " << n;
    }
}

TEST_P(KernelsOf, DotsOfRowsInHalvesAreBitForBitThoseOfTheDecodedRows) {
    const auto values = test::random_floats(kLongest, 3);
    const auto b = test::random_floats(kLongest, 4);
    for (const quant::Type type : {quant::Type::F16, quant::Type::BF16})
        for (std::int64_t n = 0; n <= kLongest; ++n) {
            // The row ends where the memory does, at an odd address.
            std::vector<std::byte> bytes(static_cast<std::size_t>(2 * n + 1));
            quant::encode_row(type, values.data(), bytes.data() + 1, n);
            std::vector<float> decoded(static_cast<std::size_t>(n));
            quant::decode_row(type, bytes.data() + 1, decoded.data(), n);
            const auto dot = type == quant::Type::F16 ? k.dot_f16 : k.dot_bf16;
            EXPECT_EQ(dot(bytes.data() + 1, b.data(), n), k.dot_f32(decoded.data(), b.data(), n))
                << quant::type_name(type) << " n = " << n;
        }
}

TEST_P(KernelsOf, AxpyIsTheReferencesAndStaysInItsRange) {
    const auto x = test::random_floats(kLongest, 5);
    const auto start = test::random_floats(kLongest + 1, 6);
    for (std::int64_t n = 0; n <= kLongest; ++n) {
        auto y = start;
        auto expected = start;
        k.axpy_f32(y.data(), 0.7F, x.data(), n);
        reference.axpy_f32(expected.data(), 0.7F, x.data(), n);
        for (std::int64_t i = 0; i <= kLongest; ++i) {
            const auto at = static_cast<std::size_t>(i);
            // One rounding less where product and sum are fused.
            EXPECT_NEAR(y[at], expected[at],
                        std::ldexp(std::abs(start[at]) + 1.4F * std::abs(x[at % x.size()]), -23))
                << i;
        }
        EXPECT_EQ(y[static_cast<std::size_t>(n)], start[static_cast<std::size_t>(n)]) << "wrote past the end";
    }
}

TEST_P(KernelsOf, AxpyOfFourIsBitForBitFourAxpys) {
    const auto x = test::random_floats(kVectors * kLongest, 7);
    const auto s = test::random_floats(kVectors, 8);
    const auto start = test::random_floats(kLongest + 1, 9);
    for (std::int64_t n = 0; n <= kLongest; ++n) {
        const float* vectors[kVectors];
        for (int j = 0; j < kVectors; ++j) vectors[j] = &x[static_cast<std::size_t>(j * kLongest)];
        auto y = start;
        auto expected = start;
        k.axpy_f32_x4(y.data(), s.data(), vectors, n);
        for (int j = 0; j < kVectors; ++j)
            k.axpy_f32(expected.data(), s[static_cast<std::size_t>(j)], vectors[j], n);
        EXPECT_EQ(y, expected) << "n = " << n;
    }
}

TEST_P(KernelsOf, RmsNormIsBitForBitTheReferencesAlsoInPlace) {
    const auto x = test::random_floats(kLongest, 5);
    const auto weight = test::random_floats(kLongest, 6);
    for (const float* weights : {weight.data(), static_cast<const float*>(nullptr)})
        for (std::int64_t n = 1; n <= kLongest; ++n) {
            std::vector<float> expected(kLongest, 77.0F);
            reference.rms_norm(expected.data(), x.data(), weights, 1e-6F, n);
            std::vector<float> out(kLongest, 77.0F);
            k.rms_norm(out.data(), x.data(), weights, 1e-6F, n);
            EXPECT_EQ(out, expected) << "n = " << n;
            std::vector<float> in_place = x;
            k.rms_norm(in_place.data(), in_place.data(), weights, 1e-6F, n);
            EXPECT_TRUE(std::equal(in_place.begin(), in_place.begin() + n, expected.begin())) << "n = " << n;
        }
}

// Rows that come alone, and lengths that are no whole vectors; the formula itself: delta_net_test.cpp.
TEST_P(KernelsOf, DeltaStepsAreTheReferencesInPlaceAndTokenByToken) {
    struct Shape {
        std::int64_t key_dim;
        std::int64_t value_dim;
    };
    constexpr std::int64_t kTokens = 3;
    for (const auto& [key_dim, value_dim] : {Shape{128, 128}, Shape{16, 43}, Shape{24, 12}, Shape{21, 9}}) {
        const auto unit = 1 / std::sqrt(static_cast<float>(key_dim));
        const auto queries = test::random_floats(kTokens * key_dim, 10, unit);
        const auto keys = test::random_floats(kTokens * key_dim, 11, unit);
        const auto values = test::random_floats(kTokens * value_dim, 12);
        const auto state = test::random_floats(key_dim * value_dim, 13);
        const auto run = [&](const Kernels& kernel, const float* from, std::vector<float>& to,
                             std::vector<float>& out, std::int64_t first, std::int64_t n) {
            std::vector<DeltaToken> tokens;
            for (std::int64_t t = first; t < first + n; ++t) {
                const float* query = &queries[static_cast<std::size_t>(t * key_dim)];
                const float* key = &keys[static_cast<std::size_t>(t * key_dim)];
                tokens.push_back({query, key, &values[static_cast<std::size_t>(t * value_dim)],
                                  &out[static_cast<std::size_t>(t * value_dim)],
                                  0.5F + 0.1F * static_cast<float>(t), 0.7F,
                                  reference.dot_f32(key, query, key_dim)});
            }
            kernel.delta_steps({tokens.data(), n, from, to.data(), key_dim, value_dim});
        };
        const auto n_out = static_cast<std::size_t>(kTokens * value_dim);
        std::vector<float> expected_state(state.size());
        std::vector<float> expected(n_out);
        run(reference, state.data(), expected_state, expected, 0, kTokens);
        std::vector<float> found_state(state.size());
        std::vector<float> found(n_out);
        run(k, state.data(), found_state, found, 0, kTokens);
        for (std::size_t i = 0; i < n_out; ++i) EXPECT_NEAR(found[i], expected[i], 1e-5) << key_dim;
        for (std::size_t i = 0; i < state.size(); ++i)
            EXPECT_NEAR(found_state[i], expected_state[i], 1e-5) << key_dim;

        auto in_place = state;
        std::vector<float> one_by_one(n_out);
        for (std::int64_t t = 0; t < kTokens; ++t) run(k, in_place.data(), in_place, one_by_one, t, 1);
        EXPECT_EQ(one_by_one, found) << key_dim;
        EXPECT_EQ(in_place, found_state) << key_dim;
    }
}

INSTANTIATE_TEST_SUITE_P(Isa, KernelsOf, testing::ValuesIn(available_isas()),
                         [](const auto& param) { return std::string(isa_name(param.param)); });

}  // namespace
}  // namespace greenroom::cpu
