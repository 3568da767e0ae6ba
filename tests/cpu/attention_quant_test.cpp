// The kernels of attention over quantized rows against their scalar reference, on every ISA that has them.

#include "cpu/attention_quant.h"

#include "cpu/buffer.h"
#include "cpu/kernels.h"
#include "quant/encode.h"
#include "quant/half.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <tuple>
#include <vector>

namespace greenroom::cpu {
namespace {

using quant::Type;

constexpr auto kBlock = static_cast<std::size_t>(kBlockPositions);

// A block of cached rows.
class Rows {
  public:
    Rows(Type type, std::int64_t n_values, unsigned seed) : row_bytes_(quant::row_bytes(type, n_values)) {
        const auto values = test::random_floats(kBlockPositions * n_values, seed);
        bytes_.resize(kBlock * static_cast<std::size_t>(row_bytes_));
        quant::encode_row(type, values.data(), bytes_.data(), kBlockPositions * n_values);
        for (std::int64_t s = 0; s < kBlockPositions; ++s)
            rows_.push_back(&bytes_[static_cast<std::size_t>(s * row_bytes_)]);
    }

    const std::byte* const* data() const { return rows_.data(); }

    // Of the first values of a row.
    void set_scale(std::int64_t s, float scale) {
        const std::uint16_t half = quant::f32_to_f16(scale);
        std::memcpy(&bytes_[static_cast<std::size_t>(s * row_bytes_)], &half, sizeof half);
    }

  private:
    std::int64_t row_bytes_;
    std::vector<std::byte> bytes_;
    std::vector<const std::byte*> rows_;
};

// Memory that is aligned to pages.
template <class T>
class Aligned {
  public:
    explicit Aligned(std::int64_t n)
        : n_(n), buffer_(n * static_cast<std::int64_t>(sizeof(T) / sizeof(float))) {}
    T* data() const { return reinterpret_cast<T*>(buffer_.data()); }
    std::size_t bytes() const { return static_cast<std::size_t>(n_) * sizeof(T); }

  private:
    std::int64_t n_;
    Buffer buffer_;
};

class Queries {
  public:
    Queries(int n, std::int64_t n_values) : blocks_(n * activation_blocks(n_values)) {
        const auto values = test::random_floats(n * n_values, 2);
        for (int j = 0; j < n; ++j) {
            ActivationBlock* to = blocks_.data() + j * activation_blocks(n_values);
            quantize_row_scalar(to, &values[static_cast<std::size_t>(j * n_values)], n_values);
            rows_.push_back(to);
        }
    }
    const ActivationBlock* const* data() const { return rows_.data(); }

  private:
    Aligned<ActivationBlock> blocks_;
    std::vector<const ActivationBlock*> rows_;
};

class AttentionQuantOf : public testing::TestWithParam<std::tuple<Type, Isa>> {
  protected:
    Type type = std::get<0>(GetParam());
    const QuantAttention& k = *find_quant_attention(type, std::get<1>(GetParam()));
    const QuantAttention& reference = *find_quant_attention(type, Isa::scalar);
};

TEST_P(AttentionQuantOf, PackedKeysAreTheReferences) {
    for (const std::int64_t n_values : {32, 96, 576}) {
        const Rows rows(type, n_values, 1);
        const Aligned<PackedKeys> keys(n_values / PackedKeys::kValues);
        const Aligned<PackedKeys> expected(n_values / PackedKeys::kValues);
        k.pack_keys(keys.data(), rows.data(), n_values);
        reference.pack_keys(expected.data(), rows.data(), n_values);
        EXPECT_EQ(std::memcmp(keys.data(), expected.data(), keys.bytes()), 0);
    }
}

// A unit of 32 values is rounded once, the sum once with each of them and once with the scale of the query.
TEST_P(AttentionQuantOf, ScoresAreTheReferencesForAnyNumberOfQueries) {
    LinesAhead ahead;
    for (const std::int64_t n_values : {32, 128, 256, 576})
        for (const int n_queries : {1, 2, 3, 5, 6, 7, 8, 13, 64}) {
            const std::int64_t n_units = n_values / PackedKeys::kValues;
            const Rows rows(type, n_values, 3);
            const Queries queries(n_queries, n_values);
            const Aligned<PackedKeys> keys(n_units);
            reference.pack_keys(keys.data(), rows.data(), n_values);
            std::vector<float> scores(static_cast<std::size_t>(n_queries) * kBlock);
            auto expected = scores;
            k.score(scores.data(), queries.data(), n_queries, keys.data(), n_values, ahead);
            reference.score(expected.data(), queries.data(), n_queries, keys.data(), n_values, ahead);
            for (std::size_t at = 0; at < scores.size(); ++at) {
                double magnitude = 0;
                for (std::int64_t unit = 0; unit < n_units; ++unit) {
                    const float scale = keys.data()[unit].scales[at % kBlock];
                    const ActivationBlock& x = queries.data()[at / kBlock][unit * 32 / 256];
                    magnitude += std::abs(static_cast<double>(scale)) * 128 * 32 *
                                 static_cast<double>(x.scale) * ActivationBlock::kLargest;
                }
                ASSERT_NEAR(scores[at], expected[at],
                            static_cast<double>(n_units + 3) * std::ldexp(magnitude, -24));
            }
        }
}

// A weight is off by half a step, a step is the largest of them (times its scale) by 32767.
TEST_P(AttentionQuantOf, ResultsAreTheReferencesForAnyNumberOfQueriesAndAnyRange) {
    LinesAhead ahead;
    const std::vector<BlockRange> kinds = {{0, 64}, {5, 6}, {0, 63}, {20, 20}, {33, 64}};
    for (const std::int64_t n_values : {32, 128, 160})
        for (const int n_queries : {1, 2, 4, 7, 8, 9, 64}) {
            const Rows rows(type, n_values, 4);
            auto weights = test::random_floats(n_queries * kBlockPositions, 5);
            for (float& w : weights) w = std::abs(w);
            const float most = *std::max_element(weights.begin(), weights.end());
            const auto factors = test::random_floats(n_queries, 6);
            std::vector<BlockRange> ranges;
            for (int j = 0; j < n_queries; ++j)
                ranges.push_back(kinds[static_cast<std::size_t>(j) % kinds.size()]);
            auto out = test::random_floats(n_queries * n_values, 7);
            auto expected = out;
            k.accumulate(out.data(), n_values, factors.data(), ranges.data(), {0, 64}, n_queries,
                         weights.data(), rows.data(), n_values, ahead);
            reference.accumulate(expected.data(), n_values, factors.data(), ranges.data(), {0, 64}, n_queries,
                                 weights.data(), rows.data(), n_values, ahead);
            // The values of a row are at most some 64.
            const double bound = 64.0 * static_cast<double>(most) * 64 / 32767 / 2 + 1e-3;
            double sum = 0;
            for (std::size_t i = 0; i < out.size(); ++i) {
                ASSERT_NEAR(out[i], expected[i], bound);
                sum += std::abs(static_cast<double>(out[i]) - static_cast<double>(expected[i]));
            }
            // Of 64 errors of either sign an eighth remains, of the largest values another fraction.
            EXPECT_LT(sum / static_cast<double>(out.size()), bound / 16);
        }
}

TEST_P(AttentionQuantOf, AQuerysNumbersDoNotDependOnTheOthers) {
    LinesAhead ahead;
    constexpr std::int64_t kValues = 96;
    const Rows rows(type, kValues, 8);
    const Queries queries(kTileQueries, kValues);
    const Aligned<PackedKeys> keys(kValues / PackedKeys::kValues);
    k.pack_keys(keys.data(), rows.data(), kValues);
    std::vector<float> scores(kTileQueries * kBlock);
    k.score(scores.data(), queries.data(), kTileQueries, keys.data(), kValues, ahead);
    const std::vector<float> factors(kTileQueries, 0.5F);
    std::vector<BlockRange> ranges(kTileQueries, {3, 62});
    ranges[7] = {10, 11};
    ranges[9] = {4, 4};
    std::vector<float> out(kTileQueries * kValues, 1.0F);
    k.accumulate(out.data(), kValues, factors.data(), ranges.data(), {3, 62}, kTileQueries, scores.data(),
                 rows.data(), kValues, ahead);
    for (std::size_t j = 0; j < kTileQueries; ++j) {
        std::vector<float> alone(kBlock);
        k.score(alone.data(), queries.data() + j, 1, keys.data(), kValues, ahead);
        EXPECT_TRUE(std::equal(alone.begin(), alone.end(), &scores[j * kBlock]));
        std::vector<float> result(kValues, 1.0F);
        k.accumulate(result.data(), kValues, &factors[j], &ranges[j], ranges[j], 1, alone.data(), rows.data(),
                     kValues, ahead);
        EXPECT_TRUE(std::equal(result.begin(), result.end(), &out[j * kValues])) << j;
    }
}

TEST_P(AttentionQuantOf, WhatAQueryDoesNotSeeMayBeAnythingAndWhatItSeesIsNotLost) {
    LinesAhead ahead;
    constexpr std::int64_t kValues = 32;
    const std::vector<BlockRange> ranges = {{0, 40}, {0, 42}};
    const std::vector<float> factors(2, 1.0F);
    const std::vector<float> weights(2 * kBlock, 0.25F);
    Rows rows(type, kValues, 9);
    const auto run = [&] {
        std::vector<float> out(2 * kValues);
        k.accumulate(out.data(), kValues, factors.data(), ranges.data(), {0, 42}, 2, weights.data(),
                     rows.data(), kValues, ahead);
        return out;
    };
    const auto expected = run();
    for (const float broken :
         {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        rows.set_scale(41, broken);
        rows.set_scale(50, broken);
        const auto out = run();
        EXPECT_TRUE(std::equal(out.begin(), out.begin() + kValues, expected.begin()));
        EXPECT_TRUE(std::none_of(out.begin() + kValues, out.end(), [](float v) { return std::isfinite(v); }));
    }
}

TEST_P(AttentionQuantOf, WeightsThatVanishAddNothing) {
    LinesAhead ahead;
    constexpr std::int64_t kValues = 32;
    const Rows rows(type, kValues, 10);
    const BlockRange all{0, 64};
    const float factor = 1.0F;
    for (const float weight : {0.0F, 1e-37F}) {
        const std::vector<float> weights(kBlock, weight);
        std::vector<float> out(kValues, 3.0F);
        k.accumulate(out.data(), kValues, &factor, &all, all, 1, weights.data(), rows.data(), kValues, ahead);
        EXPECT_EQ(out, std::vector<float>(kValues, 3.0F));
    }
}

TEST(AttentionQuant, OtherTypesAreDecoded) {
    for (const Isa isa : available_isas())
        for (const Type type : {Type::F32, Type::F16, Type::BF16})
            EXPECT_EQ(find_quant_attention(type, isa), nullptr);
}

std::vector<std::tuple<Type, Isa>> all_kernels() {
    std::vector<std::tuple<Type, Isa>> all;
    for (const Type type : {Type::Q8_0, Type::Q4_0})
        for (const Isa isa : available_isas())
            if (find_quant_attention(type, isa) != nullptr) all.emplace_back(type, isa);
    return all;
}

INSTANTIATE_TEST_SUITE_P(Kernels, AttentionQuantOf, testing::ValuesIn(all_kernels()), [](const auto& param) {
    return std::string(quant::type_name(std::get<0>(param.param))) + "_" +
           std::string(isa_name(std::get<1>(param.param)));
});

}  // namespace
}  // namespace greenroom::cpu
