// The kernels of attention over rows of halves give the bits of those over decoded rows.

#include "cpu/attention_half.h"

#include "quant/decode.h"
#include "quant/encode.h"
#include "tests/support/random_data.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace greenroom::cpu {
namespace {

using quant::Type;

constexpr auto kBlock = static_cast<std::size_t>(kBlockPositions);

class AttentionHalfOf : public testing::TestWithParam<Type> {
  protected:
    void SetUp() override {
        if (vectors_of(available_isas().back()) != Isa::avx512) GTEST_SKIP() << "no AVX-512";
    }
    const HalfAttention& kernels_for(std::int64_t n_values) const {
        return *find_half_attention(GetParam(), n_values, Isa::avx512);
    }
    const AttentionKernels& reference = attention_kernels(Isa::avx512);
};

// A block of cached rows, and what they decode to.
struct Rows {
    Rows(Type type, std::int64_t n_values, unsigned seed)
        : decoded(kBlock * static_cast<std::size_t>(n_values)) {
        const auto values = test::random_floats(kBlockPositions * n_values, seed);
        const std::int64_t row_bytes = quant::row_bytes(type, n_values);
        bytes.resize(kBlock * static_cast<std::size_t>(row_bytes));
        quant::encode_row(type, values.data(), bytes.data(), kBlockPositions * n_values);
        quant::decode_row(type, bytes.data(), decoded.data(), kBlockPositions * n_values);
        for (std::int64_t s = 0; s < kBlockPositions; ++s)
            places.push_back(&bytes[static_cast<std::size_t>(s * row_bytes)]);
    }

    std::vector<std::byte> bytes;
    std::vector<const std::byte*> places;
    std::vector<float> decoded;
};

TEST_P(AttentionHalfOf, ScoresAreThoseOfDecodedKeys) {
    LinesAhead ahead;
    for (const std::int64_t n_values : {32, 96, 128, 160, 576})
        for (const int n_queries : {1, 2, 3, 5, 7, 8, 9, 13, 64}) {
            const Rows rows(GetParam(), n_values, 1);
            const auto q = test::random_floats(n_queries * n_values, 2);
            std::vector<const float*> queries;
            for (std::int64_t j = 0; j < n_queries; ++j)
                queries.push_back(&q[static_cast<std::size_t>(j * n_values)]);
            std::vector<std::uint16_t> halves(static_cast<std::size_t>(n_values) * kBlock);
            std::vector<float> floats(halves.size());
            std::vector<float> scores(static_cast<std::size_t>(n_queries) * kBlock);
            auto expected = scores;
            const HalfAttention& k = kernels_for(n_values);
            k.pack_keys(halves.data(), rows.places.data(), n_values);
            k.score(scores.data(), queries.data(), n_queries, halves.data(), n_values, ahead);
            for (int s = 0; s < kBlockPositions; s += kPackedRows)
                reference.pack_keys(floats.data() + s, &rows.decoded[static_cast<std::size_t>(s * n_values)],
                                    n_values, n_values);
            reference.score(expected.data(), queries.data(), n_queries, floats.data(), n_values, ahead);
            ASSERT_EQ(scores, expected) << n_values << " values, " << n_queries << " queries";
        }
}

TEST_P(AttentionHalfOf, ResultsAreThoseOfDecodedValues) {
    LinesAhead ahead;
    for (const std::int64_t n_values : {32, 96, 128, 512})
        for (const int n_queries : {1, 2, 3, 5, 7, 8, 9, 64})
            for (const BlockRange range : {BlockRange{0, 64}, BlockRange{5, 6}, BlockRange{1, 63}}) {
                const Rows rows(GetParam(), n_values, 3);
                const auto weights = test::random_floats(n_queries * kBlockPositions, 4);
                const auto factors = test::random_floats(n_queries, 5);
                auto out = test::random_floats(n_queries * n_values, 6);
                auto expected = out;
                kernels_for(n_values).accumulate(out.data(), n_values, factors.data(), n_queries,
                                                 weights.data(), rows.places.data(), range, n_values, ahead);
                reference.accumulate(expected.data(), n_values, factors.data(), n_queries, weights.data(),
                                     rows.decoded.data(), n_values, range, n_values, ahead);
                ASSERT_EQ(out, expected) << n_values << " values, " << n_queries << " queries";
            }
}

TEST(AttentionHalf, OtherRowsAreDecoded) {
    for (const Isa isa : available_isas()) {
        EXPECT_EQ(find_half_attention(Type::F16, 128, isa) != nullptr, vectors_of(isa) == Isa::avx512);
        EXPECT_EQ(find_half_attention(Type::F16, 80, isa), nullptr);
        for (const Type type : {Type::F32, Type::Q8_0, Type::Q4_0})
            EXPECT_EQ(find_half_attention(type, 128, isa), nullptr);
    }
}

INSTANTIATE_TEST_SUITE_P(Types, AttentionHalfOf, testing::Values(Type::F16, Type::BF16),
                         [](const auto& param) { return std::string(quant::type_name(param.param)); });

}  // namespace
}  // namespace greenroom::cpu
