#include "quant/decode.h"

#include "quant/blocks.h"
#include "quant/decode_block.h"
#include "quant/half.h"
#include "quant/iq_tables.h"
#include "tests/support/npy.h"
#include "tests/support/paths.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

namespace greenroom::quant {
namespace {

using test::load_npy;
using test::test_data;

std::filesystem::path oracle(const std::string& file) { return test_data("oracle/quant/" + file); }

// Every type that the format gives an id; find_type() leaves out the gaps.
std::vector<Type> all_types() {
    std::vector<Type> types;
    for (std::uint32_t id = 0; id < 64; ++id)
        if (const TypeInfo* info = find_type(id)) types.push_back(info->type);
    return types;
}

std::vector<float> decode(Type type, const std::vector<std::uint8_t>& raw, std::int64_t n_values) {
    std::vector<float> out(static_cast<std::size_t>(n_values));
    decode_row(type, reinterpret_cast<const std::byte*>(raw.data()), out.data(), n_values);
    return out;
}

// ---- Each type against the reference implementation's output ----

class DecodeType : public testing::TestWithParam<Type> {
  protected:
    const std::string name{type_name(GetParam())};
};

TEST_P(DecodeType, IsBitIdenticalToTheReference) {
    const auto raw = load_npy<std::uint8_t>(oracle("raw_" + name + ".npy"));
    const auto expected = load_npy<float>(oracle("dequant_" + name + ".npy"));
    ASSERT_EQ(raw.dim(0), expected.dim(0));
    ASSERT_EQ(raw.dim(1), row_bytes(GetParam(), expected.dim(1)));
    const std::vector<float> y = decode(GetParam(), raw.values, expected.dim(0) * expected.dim(1));
    for (std::size_t i = 0; i < y.size(); ++i)
        ASSERT_EQ(std::bit_cast<std::uint32_t>(y[i]), std::bit_cast<std::uint32_t>(expected.values[i]))
            << "value " << i << ": " << y[i] << ", reference " << expected.values[i];
}

TEST_P(DecodeType, TakesBlocksAtAnyAddress) {
    const auto raw = load_npy<std::uint8_t>(oracle("raw_" + name + ".npy"));
    const auto expected = load_npy<float>(oracle("dequant_" + name + ".npy"));
    const std::int64_t n_values = expected.dim(0) * expected.dim(1);
    std::vector<std::byte> shifted(raw.values.size() + 8);
    std::vector<float> y(static_cast<std::size_t>(n_values));
    for (std::size_t offset = 1; offset < 8; ++offset) {
        std::memcpy(shifted.data() + offset, raw.values.data(), raw.values.size());
        decode_row(GetParam(), shifted.data() + offset, y.data(), n_values);
        ASSERT_EQ(std::memcmp(y.data(), expected.values.data(), y.size() * sizeof(float)), 0)
            << "offset " << offset;
    }
}

TEST_P(DecodeType, MatrixTimesVectorAgreesInDoublePrecision) {
    const auto raw = load_npy<std::uint8_t>(oracle("raw_" + name + ".npy"));
    const auto expected = load_npy<float>(oracle("matvec_" + name + ".npy"));
    const auto x = load_npy<float>(oracle("x.npy"));
    const std::int64_t n_rows = expected.dim(0);
    const std::int64_t k = x.dim(0);
    const std::vector<float> w = decode(GetParam(), raw.values, n_rows * k);
    for (std::int64_t r = 0; r < n_rows; ++r) {
        double sum = 0;
        double absolute = 0;
        for (std::int64_t i = 0; i < k; ++i) {
            const double product = static_cast<double>(w[r * k + i]) * x.values[i];
            sum += product;
            absolute += std::fabs(product);
        }
        EXPECT_NEAR(sum, expected.values[r], 1e-6 * absolute) << "row " << r;
    }
}

INSTANTIATE_TEST_SUITE_P(Oracle, DecodeType,
                         testing::Values(Type::F16, Type::BF16, Type::Q4_0, Type::Q4_1, Type::Q5_0,
                                         Type::Q5_1, Type::Q8_0, Type::Q2_K, Type::Q3_K, Type::Q4_K,
                                         Type::Q5_K, Type::Q6_K, Type::IQ1_S, Type::IQ1_M, Type::IQ2_XXS,
                                         Type::IQ2_XS, Type::IQ2_S, Type::IQ3_XXS, Type::IQ3_S, Type::IQ4_NL,
                                         Type::IQ4_XS, Type::TQ1_0, Type::TQ2_0, Type::MXFP4, Type::NVFP4,
                                         Type::Q1_0, Type::Q2_0),
                         [](const auto& param) { return std::string(type_name(param.param)); });

TEST(Decode, F32IsCopied) {
    const auto weights = load_npy<float>(oracle("weights.npy"));
    std::vector<float> y(weights.values.size());
    decode_row(Type::F32, reinterpret_cast<const std::byte*>(weights.values.data()), y.data(),
               static_cast<std::int64_t>(y.size()));
    EXPECT_EQ(y, weights.values);
}

// The reference data have Q8_K only as an activation: its values are d · q by definition.
TEST(Decode, Q8KIsScaleTimesInteger) {
    const auto raw = load_npy<std::uint8_t>(oracle("act_Q8_K.npy"));
    const auto n_values = static_cast<std::int64_t>(raw.values.size() / sizeof(BlockQ8K) * BlockQ8K::kValues);
    std::vector<std::uint8_t> shifted(raw.values.size() + 1);
    std::memcpy(shifted.data() + 1, raw.values.data(), raw.values.size());
    std::vector<float> y(static_cast<std::size_t>(n_values));
    decode_row(Type::Q8_K, reinterpret_cast<const std::byte*>(shifted.data() + 1), y.data(), n_values);
    for (std::int64_t i = 0; i < n_values; ++i) {
        const std::uint8_t* block = raw.values.data() + i / 256 * 292;
        float d;
        std::memcpy(&d, block, sizeof d);
        ASSERT_EQ(y[i], d * static_cast<float>(static_cast<std::int8_t>(block[4 + i % 256])));
    }
}

TEST(Decode, HasADecoderExactlyForDecodableTypes) {
    for (const Type type : all_types())
        EXPECT_EQ(find_decoder(type) != nullptr, type_info(type).decodable) << type_name(type);
}

TEST(Decode, NoValuesTouchNothing) {
    for (const Type type : all_types())
        if (const DecodeFn decoder = find_decoder(type)) decoder(nullptr, nullptr, 0);
}

// ---- Sizes ----

template <class Block>
void expect_size() {
    const TypeInfo& info = type_info(Block::kType);
    EXPECT_EQ(sizeof(Block), static_cast<std::size_t>(info.block_bytes)) << info.name;
    EXPECT_EQ(Block::kValues, info.block_values) << info.name;
}

template <class... Blocks>
std::size_t expect_sizes() {
    (expect_size<Blocks>(), ...);
    return sizeof...(Blocks);
}

TEST(Blocks, AreAsLargeAsTheTypeSays) {
    const std::size_t n_blocks =
        expect_sizes<BlockQ4_0, BlockQ4_1, BlockQ5_0, BlockQ5_1, BlockQ8_0, BlockQ8_1, BlockQ1_0, BlockQ2_0,
                     BlockMXFP4, BlockNVFP4, BlockTQ1_0, BlockTQ2_0, BlockQ2K, BlockQ3K, BlockQ4K, BlockQ5K,
                     BlockQ6K, BlockQ8K, BlockIQ1S, BlockIQ1M, BlockIQ2XXS, BlockIQ2XS, BlockIQ2S,
                     BlockIQ3XXS, BlockIQ3S, BlockIQ4NL, BlockIQ4XS>();
    const std::vector<Type> types = all_types();
    const auto has_blocks = [](Type type) { return type_info(type).block_values > 1; };
    EXPECT_EQ(n_blocks, std::count_if(types.begin(), types.end(), has_blocks));
}

TEST(Blocks, ScalesOfQ4KSurvivePackingInEveryPosition) {
    for (int position = 0; position < 8; ++position) {
        for (int value = 0; value < 64; ++value) {
            ScalesAndMins in{};
            for (int i = 0; i < 8; ++i) {
                in.scale[i] = static_cast<std::uint8_t>(i == position ? value : 63 - value);
                in.min[i] = static_cast<std::uint8_t>(i == position ? 63 - value : value);
            }
            std::uint8_t packed[12];
            pack_scales(in, packed);
            const ScalesAndMins out = unpack_scales(packed);
            ASSERT_TRUE(std::equal(in.scale, in.scale + 8, out.scale)) << position << ' ' << value;
            ASSERT_TRUE(std::equal(in.min, in.min + 8, out.min)) << position << ' ' << value;
        }
    }
}

// ---- Small floats, over their whole domain ----

// The number with these fields, by its definition: (−1)^sign · 2^(exponent − bias) · 1.mantissa, or
// 2^(1 − bias) · 0.mantissa. The largest exponent is infinity or NaN.
double float_by_definition(std::uint32_t bits, int exponent_bits, int mantissa_bits) {
    const int bias = (1 << (exponent_bits - 1)) - 1;
    const auto mantissa = static_cast<int>(bits & ((1u << mantissa_bits) - 1));
    const auto exponent = static_cast<int>(bits >> mantissa_bits & ((1u << exponent_bits) - 1));
    const double sign = (bits >> (exponent_bits + mantissa_bits) & 1) != 0 ? -1.0 : 1.0;
    if (exponent == (1 << exponent_bits) - 1) {
        return mantissa != 0 ? std::numeric_limits<double>::quiet_NaN()
                             : sign * std::numeric_limits<double>::infinity();
    }
    const int fraction = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
    return sign * std::ldexp(fraction, std::max(exponent, 1) - bias - mantissa_bits);
}

void expect_all_16_bit_patterns(float (*decode_one)(std::uint16_t), std::uint16_t (*encode_one)(float),
                                int exponent_bits, int mantissa_bits) {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        const double expected = float_by_definition(bits, exponent_bits, mantissa_bits);
        const float value = decode_one(half);
        ASSERT_EQ(std::signbit(value), bits >= 0x8000) << std::hex << bits;
        if (std::isnan(expected)) {
            ASSERT_TRUE(std::isnan(value)) << std::hex << bits;
            ASSERT_TRUE(std::isnan(decode_one(encode_one(value)))) << std::hex << bits;
            ASSERT_EQ(encode_one(value) & 0x8000u, bits & 0x8000u) << std::hex << bits;
        } else {
            ASSERT_EQ(static_cast<double>(value), expected) << std::hex << bits;
            ASSERT_EQ(encode_one(value), half) << std::hex << bits;
        }
    }
}

TEST(Half, EveryF16DecodesByDefinitionAndRoundTrips) {
    expect_all_16_bit_patterns(f16_to_f32, f32_to_f16, 5, 10);
}

TEST(Half, EveryBf16DecodesByDefinitionAndRoundTrips) {
    expect_all_16_bit_patterns(bf16_to_f32, f32_to_bf16, 8, 7);
}

// Between each two neighbours: what lies below the middle goes down, above it up, and the middle to the even
// one.
void expect_nearest_even(float (*decode_one)(std::uint16_t), std::uint16_t (*encode_one)(float),
                         std::uint16_t largest_finite) {
    for (std::uint16_t low = 0; low < largest_finite; ++low) {
        const auto high = static_cast<std::uint16_t>(low + 1);
        const float middle = std::midpoint(decode_one(low), decode_one(high));
        const std::uint16_t even = low % 2 == 0 ? low : high;
        ASSERT_EQ(encode_one(middle), even) << low;
        ASSERT_EQ(encode_one(std::nextafter(middle, 0.0f)), low) << low;
        ASSERT_EQ(encode_one(std::nextafter(middle, HUGE_VALF)), high) << low;
        ASSERT_EQ(encode_one(-middle), even | 0x8000) << low;
    }
}

TEST(Half, F16RoundsToNearestEven) {
    expect_nearest_even(f16_to_f32, f32_to_f16, 0x7bff);
    EXPECT_EQ(f32_to_f16(std::nextafter(65520.0f, 0.0f)), 0x7bff);
    EXPECT_EQ(f32_to_f16(65520.0f), 0x7c00);
    EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::max()), 0x7c00);
    EXPECT_EQ(f32_to_f16(-std::numeric_limits<float>::infinity()), 0xfc00);
    EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::denorm_min()), 0);
}

TEST(Half, Bf16RoundsToNearestEven) {
    expect_nearest_even(bf16_to_f32, f32_to_bf16, 0x7f7f);
    EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
}

TEST(Half, NanWithALowPayloadStaysNan) {
    for (const std::uint32_t bits : {0x7f800001u, 0xff800001u, 0x7fffffffu, 0x7fc00000u}) {
        const float nan = std::bit_cast<float>(bits);
        EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(nan)))) << std::hex << bits;
        EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(nan)))) << std::hex << bits;
    }
}

TEST(Half, EveryE8m0IsHalfAPowerOfTwo) {
    for (int e = 0; e < 256; ++e)
        ASSERT_EQ(e8m0_half_to_f32(static_cast<std::uint8_t>(e)), std::ldexp(0.5, e - 127)) << e;
}

TEST(Half, EveryE8m0ScalesABlock) {
    BlockMXFP4 block{};
    for (int j = 0; j < 16; ++j) block.qs[j] = static_cast<std::uint8_t>(j | (15 - j) << 4);
    constexpr double kE2m1[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6};
    for (int e = 0; e < 256; ++e) {
        block.e = static_cast<std::uint8_t>(e);
        float y[32];
        decode_block(block, y);
        for (int j = 0; j < 16; ++j) {
            double expected = std::ldexp(kE2m1[j], e - 127);
            if (std::fabs(expected) >
                std::numeric_limits<float>::max())  // the larger numbers at e = 254, 255
                expected = std::copysign(HUGE_VAL, expected);
            ASSERT_EQ(y[j], expected) << e << ' ' << j;
            ASSERT_EQ(y[31 - j], y[j]) << e << ' ' << j;
        }
    }
}

TEST(Half, EveryUe4m3IsHalfItsNumber) {
    for (int e = 0; e < 256; ++e) {
        const int exponent = e >> 3 & 15;
        const int mantissa = e & 7;
        double expected =
            std::ldexp(exponent == 0 ? mantissa : 8 + mantissa, std::max(exponent, 1) - 7 - 3) / 2;
        if (e == 0x7f) expected = 0;
        ASSERT_EQ(ue4m3_half_to_f32(static_cast<std::uint8_t>(e)), expected) << e;
    }
}

// ---- Tables ----

// FNV-1a, 64 bits: a fingerprint of a table, taken from the `gguf` package (llama.cpp's own constants).
template <class Table>
std::uint64_t fingerprint(const Table& table) {
    std::uint64_t hash = 0xcbf29ce484222325u;
    for (const auto& point : table)
        for (const std::int8_t value : point.value)
            hash = (hash ^ static_cast<std::uint8_t>(value)) * 0x100000001b3u;
    return hash;
}

TEST(IqTables, AreTheConstantsOfTheFormat) {
    EXPECT_EQ(fingerprint(kIq2XxsGrid), 0xbb4ee025b5ac6e8eu);
    EXPECT_EQ(fingerprint(kIq2XsGrid), 0xc9b1ee61e79909bdu);
    EXPECT_EQ(fingerprint(kIq2SGrid), 0x123edd38a3b62b90u);
    EXPECT_EQ(fingerprint(kIq3XxsGrid), 0xdfa5dc83d6a155d5u);
    EXPECT_EQ(fingerprint(kIq3SGrid), 0xfa37020c25b44829u);
    EXPECT_EQ(fingerprint(kIq1Grid), 0x6703ed863501ae2eu);
}

// Levels 8, 25, 43 stand for 1, 3, 5; levels 4, 12, …, 52, 62 for 1, 3, …, 13, 15.
TEST(IqTables, LatticeGridsHaveSumsDivisibleByFour) {
    const auto expect_lattice = [](const auto& grid, int unit) {
        for (const auto& point : grid) {
            int sum = 0;
            for (const std::int8_t value : point.value) sum += 2 * (value / unit / 2) + 1;
            EXPECT_EQ(sum % 4, 0);
        }
    };
    expect_lattice(kIq2XxsGrid, 8);
    expect_lattice(kIq2XsGrid, 8);
    expect_lattice(kIq2SGrid, 8);
    expect_lattice(kIq3XxsGrid, 4);
}

TEST(IqTables, EvenSignsKeepSevenBitsAndEvenParity) {
    for (unsigned i = 0; i < 128; ++i) {
        EXPECT_EQ(kEvenSigns[i] & 127u, i);
        EXPECT_EQ(std::popcount(kEvenSigns[i]) % 2, 0);
    }
}

}  // namespace
}  // namespace greenroom::quant
