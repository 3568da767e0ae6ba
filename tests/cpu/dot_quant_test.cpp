// Kernels of quantized weights with quantized activations: every type on every ISA of this CPU, against sums
// in double over the decoded weights, against the exact product with the activations that were quantized, and
// against each other.

#include "cpu/dot_quant.h"

#include "cpu/kernels.h"
#include "quant/decode.h"
#include "tests/support/npy.h"
#include "tests/support/paths.h"
#include "tests/support/random_data.h"
#include "tests/support/random_tensor.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace greenroom::cpu {
namespace {

using quant::Type;

std::vector<Type> types_with_kernels() {
    std::vector<Type> types;
    for (std::uint32_t id = 0; id < 64; ++id)
        if (const auto* info = quant::find_type(id); info && find_quant_dot(info->type, Isa::scalar))
            types.push_back(info->type);
    return types;
}

std::vector<ActivationBlock> quantized(const std::vector<float>& x) {
    const auto n = static_cast<std::int64_t>(x.size());
    std::vector<ActivationBlock> blocks(static_cast<std::size_t>(activation_blocks(n)));
    quantize_row_scalar(blocks.data(), x.data(), n);
    return blocks;
}

constexpr Planes kBothKinds[] = {Planes::high, Planes::both};

const char* planes_name(Planes planes) { return planes == Planes::high ? " 8 bits" : " 15 bits"; }

// What the blocks stand for.
std::vector<double> dequantized(const std::vector<ActivationBlock>& blocks, Planes planes, std::size_t n) {
    std::vector<double> x;
    for (std::size_t i = 0; i < n; ++i) {
        const ActivationBlock& block = blocks[i / 256];
        const auto at = static_cast<int>(i % 256);
        const int q = planes == Planes::both ? block.value(at) : 128 * block.planes[0][at];
        x.push_back(static_cast<double>(block.scale) * q);
    }
    return x;
}

float dot(const QuantDot& kernel, const std::byte* row, const std::vector<ActivationBlock>& x, Planes planes,
          std::int64_t n) {
    float out = std::numeric_limits<float>::quiet_NaN();
    kernel.dot_rows(row, 0, 1, x.data(), planes, n, &out);
    return out;
}

// QuantDot::dot_packed, of vectors that are packed for it; dots: room for a multiple of 16.
void dot_packed(const QuantDot& kernel, Type type, const std::byte* rows, int n_rows,
                std::span<const ActivationBlock* const> x, Planes planes, std::int64_t n, float* dots) {
    const auto n_vectors = static_cast<int>(x.size());
    const std::int64_t n_packed = packed_groups(n_vectors) * activation_blocks(n);
    // What is not packed must not be read.
    std::vector<PackedVectors> packed(static_cast<std::size_t>(n_packed));
    std::memset(static_cast<void*>(packed.data()), 0x77, packed.size() * sizeof packed[0]);
    pack_vectors_avx512(x.data(), n_vectors, planes, n, packed.data());
    kernel.dot_packed(rows, quant::row_bytes(type, n), n_rows, packed.data(), n_vectors, planes, n, dots);
}

struct Sum {
    double value = 0;
    double magnitude = 0;  // Σ|w·x|
    double largest = 0;    // max|w| · Σ|x|: what the parts with and without the minimum may add up to
};

Sum exact_dot(const double* w, const double* x, std::size_t n) {
    Sum sum;
    double highest = 0;
    for (std::size_t i = 0; i < n; ++i) {
        sum.value += w[i] * x[i];
        sum.magnitude += std::abs(w[i] * x[i]);
        highest = std::max(highest, std::abs(w[i]));
        sum.largest += std::abs(x[i]);
    }
    sum.largest *= highest;
    return sum;
}

class QuantDotOf : public testing::TestWithParam<Type> {
  protected:
    const Type type = GetParam();
    const quant::TypeInfo& info = quant::type_info(type);

    std::vector<std::int64_t> lengths() const {
        if (info.block_values == 256) return {256, 512, 2048};
        std::vector<std::int64_t> lengths;
        for (const std::int64_t n : {32, 64, 96, 224, 256, 288, 704, 2880})
            if (n % info.block_values == 0) lengths.push_back(n);
        return lengths;
    }
};

// Weights are random bytes: every code and, where it takes no infinity to have it, every scale. Sums within
// a group are exact, so only the rounding of some ten products and sums per group is left.
TEST_P(QuantDotOf, IsTheSumOverDecodedWeightsAndDequantizedActivations) {
    for (const std::int64_t n : lengths()) {
        const test::RandomTensor w(type, n, 5, 1, 1);
        const auto decoded = w.decoded();
        auto values = test::random_floats(n, 2);
        for (const float spike : {0.0F, 1e6F}) {
            values[static_cast<std::size_t>(n) - 3] += spike;
            const auto x = quantized(values);
            for (const Planes planes : kBothKinds) {
                const auto x_values = dequantized(x, planes, static_cast<std::size_t>(n));
                for (const Isa isa : available_isas())
                    for (std::int64_t r = 0; r < w.view.n_rows(); ++r) {
                        const Sum expected = exact_dot(&decoded[static_cast<std::size_t>(r * n)],
                                                       x_values.data(), static_cast<std::size_t>(n));
                        EXPECT_NEAR(dot(*find_quant_dot(type, isa), w.view.row(r), x, planes, n),
                                    expected.value, 4e-7 * (expected.magnitude + 0.1 * expected.largest))
                            << isa_name(isa) << planes_name(planes) << " n = " << n << " row " << r
                            << " spike " << spike;
                    }
            }
        }
    }
}

// Up to as many rows as come in one call.
TEST_P(QuantDotOf, RowsOfARunAreThoseAlone) {
    for (const std::int64_t n : lengths()) {
        const test::RandomTensor w(type, n, kRunRows, 1, 9);
        const std::vector<ActivationBlock> x = quantized(test::random_floats(n, 10));
        for (const Isa isa : available_isas())
            for (const Planes planes : kBothKinds) {
                const QuantDot& kernel = *find_quant_dot(type, isa);
                std::vector<float> expected;
                for (int r = 0; r < kRunRows; ++r)
                    expected.push_back(dot(kernel, w.view.row(r), x, planes, n));
                for (const int n_rows : {33, 254, kRunRows}) {
                    std::vector<float> out(kRunRows + 1, 77.0F);
                    kernel.dot_rows(w.view.row(0), w.view.row_bytes(), n_rows, x.data(), planes, n,
                                    out.data());
                    EXPECT_TRUE(std::equal(out.begin(), out.begin() + n_rows, expected.begin()))
                        << isa_name(isa) << planes_name(planes) << " n = " << n << " rows " << n_rows;
                    EXPECT_EQ(out[static_cast<std::size_t>(n_rows)], 77) << isa_name(isa) << n_rows;
                }
            }
    }
}

// Any number of rows and vectors, on any SIMD ISA, from their blocks or laid out anew.
TEST_P(QuantDotOf, HasTheSameBitsInEveryWay) {
    constexpr int kMostVectors = 26;
    const Isa last = available_isas().back();
    if (last == Isa::scalar) GTEST_SKIP() << "this CPU has no SIMD kernels";
    for (const std::int64_t n : lengths()) {
        const test::RandomTensor w(type, n, kTileRows, 1, 5);
        std::vector<std::vector<ActivationBlock>> vectors;
        std::vector<const ActivationBlock*> x;
        for (unsigned j = 0; j < kMostVectors; ++j)
            vectors.push_back(quantized(test::random_floats(n, 60 + j)));
        std::transform(vectors.begin(), vectors.end(), std::back_inserter(x),
                       [](const auto& vector) { return vector.data(); });
        for (const Planes planes : kBothKinds) {
            std::vector<float> expected;  // one row and one vector at a time
            for (const auto& vector : vectors)
                for (int r = 0; r < kTileRows; ++r)
                    expected.push_back(dot(*find_quant_dot(type, last), w.view.row(r), vector, planes, n));
            for (const Isa isa : available_isas()) {
                if (isa == Isa::scalar) continue;
                const QuantDot& kernel = *find_quant_dot(type, isa);
                const std::string where =
                    std::string(isa_name(isa)) + planes_name(planes) + " n = " + std::to_string(n) + " rows ";
                for (const int n_rows : {1, 7, 8, 16, 17, 31, kTileRows}) {
                    float out[kTileRows + 1];
                    out[n_rows] = 77;
                    kernel.dot_rows(w.view.row(0), w.view.row_bytes(), n_rows, x[0], planes, n, out);
                    EXPECT_TRUE(std::equal(out, out + n_rows, expected.begin())) << where << n_rows;
                    EXPECT_EQ(out[n_rows], 77) << "written past the end, " << where << n_rows;

                    for (const int n_vectors : {1, 2, 3, 5, 6, 7, 12, 13, kMostVectors}) {
                        alignas(64) float dots[(kMostVectors + 16) * kTileRows];
                        dots[n_vectors * kTileRows] = 77;
                        kernel.dot_tile(w.view.row(0), w.view.row_bytes(), n_rows, x.data(), n_vectors,
                                        planes, n, dots);
                        EXPECT_EQ(dots[n_vectors * kTileRows], 77) << "written past the end, " << where;
                        for (int j = 0; j < n_vectors; ++j) {
                            const float* of_vector = dots + j * kTileRows;
                            EXPECT_TRUE(
                                std::equal(of_vector, of_vector + n_rows, expected.begin() + j * kTileRows))
                                << where << n_rows << " vector " << j << " of " << n_vectors;
                        }
                        // Packed, they come 16 at a time.
                        if (kernel.dot_packed == nullptr || (n_vectors > 1 && n_vectors < 13)) continue;
                        std::fill(std::begin(dots), std::end(dots), 77.0F);
                        dot_packed(kernel, type, w.view.row(0), n_rows,
                                   std::span(x).first(static_cast<std::size_t>(n_vectors)), planes, n, dots);
                        EXPECT_EQ(dots[packed_groups(n_vectors) * 16 * kTileRows], 77) << where;
                        for (int j = 0; j < n_vectors; ++j) {
                            const float* of_vector = dots + j * kTileRows;
                            EXPECT_TRUE(
                                std::equal(of_vector, of_vector + n_rows, expected.begin() + j * kTileRows))
                                << where << n_rows << " packed vector " << j << " of " << n_vectors;
                        }
                    }
                }
            }
        }
    }
}

// The largest weights, scales and activations that there are: the integers come as far as they can.
// Rows of more values than meet the activations at a time.
TEST_P(QuantDotOf, LongRowsHaveTheSameBitsInEveryWay) {
    constexpr int kRows = 6;
    const std::int64_t n = 8192 + (info.block_values == 256 ? 512 : 288);
    const test::RandomTensor w(type, n, kRows, 1, 6);
    const auto x = quantized(test::random_floats(n, 7));
    const Isa last = available_isas().back();
    for (const Planes planes : kBothKinds)
        for (const Isa isa : available_isas()) {
            if (isa == Isa::scalar) continue;
            float out[kTileRows];
            find_quant_dot(type, isa)->dot_rows(w.view.row(0), w.view.row_bytes(), kRows, x.data(), planes, n,
                                                out);
            alignas(64) float dots[kTileRows];
            const ActivationBlock* const vectors[] = {x.data()};
            find_quant_dot(type, isa)->dot_tile(w.view.row(0), w.view.row_bytes(), kRows, vectors, 1, planes,
                                                n, dots);
            for (int r = 0; r < kRows; ++r) {
                EXPECT_EQ(out[r], dot(*find_quant_dot(type, last), w.view.row(r), x, planes, n))
                    << isa_name(isa) << planes_name(planes) << " row " << r;
                EXPECT_EQ(out[r], dots[r]) << isa_name(isa) << planes_name(planes) << " row " << r;
            }
            if (find_quant_dot(type, isa)->dot_packed == nullptr) continue;
            alignas(64) float of_packed[16 * kTileRows];
            dot_packed(*find_quant_dot(type, isa), type, w.view.row(0), kRows, vectors, planes, n, of_packed);
            EXPECT_TRUE(std::equal(out, out + kRows, of_packed)) << isa_name(isa) << planes_name(planes);
        }
}

// The last row ends where memory ends, within a vector and within 256 values.
TEST_P(QuantDotOf, NothingBehindTheLastRowIsRead) {
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    for (const std::int64_t n : lengths())
        for (const int n_rows : {1, 3, 4, 9}) {
            const test::RandomTensor w(type, n, n_rows, 1, 8);
            const auto x = quantized(test::random_floats(n, 9));
            const auto n_bytes = static_cast<std::size_t>(n_rows * w.view.row_bytes());
            const std::size_t end = (n_bytes + page - 1) / page * page;
            void* memory =
                ::mmap(nullptr, end + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            ASSERT_NE(memory, MAP_FAILED);
            auto* rows = static_cast<std::byte*>(memory) + end - n_bytes;
            std::copy_n(w.view.row(0), n_bytes, rows);
            ASSERT_EQ(::mprotect(static_cast<std::byte*>(memory) + end, page, PROT_NONE), 0);
            for (const Isa isa : available_isas())
                for (const Planes planes : kBothKinds) {
                    float out[kTileRows];
                    float expected[kTileRows];
                    const QuantDot& kernel = *find_quant_dot(type, isa);
                    kernel.dot_rows(rows, w.view.row_bytes(), n_rows, x.data(), planes, n, out);
                    kernel.dot_rows(w.view.row(0), w.view.row_bytes(), n_rows, x.data(), planes, n, expected);
                    EXPECT_TRUE(std::equal(out, out + n_rows, expected)) << isa_name(isa) << " n = " << n;
                }
            ::munmap(memory, end + page);
        }
}

TEST_P(QuantDotOf, TheLargestSumsFit) {
    const std::int64_t n = 256;
    for (const int fill : {0x00, 0x3f, 0x7b, 0x80, 0x83, 0xbb, 0xf7, 0xff}) {
        std::vector<std::uint8_t> row(static_cast<std::size_t>(quant::row_bytes(type, n)),
                                      static_cast<std::uint8_t>(fill));
        std::vector<float> decoded(static_cast<std::size_t>(n));
        quant::find_decoder(type)(reinterpret_cast<const std::byte*>(row.data()), decoded.data(), n);
        const auto in_range = [](float v) { return std::abs(v) < 0x1p105F; };  // see dot_quant.h
        if (!std::all_of(decoded.begin(), decoded.end(), in_range)) continue;
        for (const float sign : {1e-3F, -1e-3F}) {
            std::vector<float> x;
            std::transform(decoded.begin(), decoded.end(), std::back_inserter(x),
                           [sign](float w) { return w < 0 ? -sign : sign; });
            const auto blocks = quantized(x);
            const std::vector<double> weights(decoded.begin(), decoded.end());
            for (const Planes planes : kBothKinds) {
                const auto values = dequantized(blocks, planes, static_cast<std::size_t>(n));
                const Sum sum = exact_dot(weights.data(), values.data(), static_cast<std::size_t>(n));
                const auto* bytes = reinterpret_cast<const std::byte*>(row.data());
                for (const Isa isa : available_isas()) {
                    const QuantDot& kernel = *find_quant_dot(type, isa);
                    EXPECT_NEAR(dot(kernel, bytes, blocks, planes, n), sum.value, 1e-6 * sum.largest)
                        << isa_name(isa) << planes_name(planes) << " bytes of " << fill;
                    if (kernel.dot_tile == nullptr) continue;
                    alignas(64) float dots[kTileRows];
                    const ActivationBlock* x_blocks = blocks.data();
                    kernel.dot_tile(bytes, 0, 1, &x_blocks, 1, planes, n, dots);
                    EXPECT_NEAR(dots[0], sum.value, 1e-6 * sum.largest)
                        << isa_name(isa) << planes_name(planes) << " bytes of " << fill << ", as a tile";
                    if (kernel.dot_packed == nullptr) continue;
                    alignas(64) float of_packed[16 * kTileRows];
                    dot_packed(kernel, type, bytes, 1, std::span(&x_blocks, 1), planes, n, of_packed);
                    EXPECT_EQ(of_packed[0], dots[0])
                        << isa_name(isa) << planes_name(planes) << " bytes of " << fill << ", packed";
                }
            }
        }
    }
}

// The largest error over the rows of the reference matrix, in units of Σ|w·x|.
struct ErrorOfPeer {
    Type type;
    double error;  // of ggml's kernel, from the reference data
};

constexpr ErrorOfPeer kPeer[] = {
    {Type::Q4_0, 1.4e-3},   {Type::Q4_1, 1.4e-3},  {Type::Q5_0, 1.4e-3},    {Type::Q5_1, 1.4e-3},
    {Type::Q8_0, 1.4e-3},   {Type::Q2_K, 1.5e-3},  {Type::Q3_K, 1.8e-3},    {Type::Q4_K, 2.2e-3},
    {Type::Q5_K, 2.0e-3},   {Type::Q6_K, 2.1e-3},  {Type::IQ4_NL, 1.4e-3},  {Type::IQ4_XS, 2.1e-3},
    {Type::MXFP4, 1.4e-3},  {Type::IQ1_S, 1.8e-3}, {Type::IQ1_M, 1.0e-3},   {Type::IQ2_XXS, 1.9e-3},
    {Type::IQ2_XS, 2.1e-3}, {Type::IQ2_S, 1.8e-3}, {Type::IQ3_XXS, 1.9e-3}, {Type::IQ3_S, 1.9e-3},
};

// With 15 bits ten times as closely; with 8 and a scale per 256 values as the peer's kernels of K-quants,
// which have such activations too (those of small blocks have a scale per 32).
TEST_P(QuantDotOf, MatchesTheExactProductAsThePeersKernelOrTenTimesAsClosely) {
    const std::string name(info.name);
    const auto raw = test::load_npy<std::uint8_t>(test::test_data("oracle/quant/raw_" + name + ".npy"));
    const auto weights = test::load_npy<float>(test::test_data("oracle/quant/dequant_" + name + ".npy"));
    const auto expected = test::load_npy<float>(test::test_data("oracle/quant/matvec_" + name + ".npy"));
    const auto x = test::load_npy<float>(test::test_data("oracle/quant/x.npy"));
    const auto n = static_cast<std::size_t>(weights.dim(1));
    const std::vector<double> w(weights.values.begin(), weights.values.end());
    const std::vector<double> x_values(x.values.begin(), x.values.end());
    const auto x_quantized = quantized(x.values);
    const auto* peer = std::find_if(std::begin(kPeer), std::end(kPeer),
                                    [&](const ErrorOfPeer& p) { return p.type == type; });
    ASSERT_NE(peer, std::end(kPeer)) << name;
    for (const Isa isa : available_isas())
        for (const Planes planes : kBothKinds) {
            double worst = 0;
            for (std::size_t r = 0; r < expected.values.size(); ++r) {
                const auto* row = reinterpret_cast<const std::byte*>(raw.values.data()) +
                                  static_cast<std::int64_t>(r) * raw.dim(1);
                const Sum sum = exact_dot(&w[r * n], x_values.data(), n);
                ASSERT_NEAR(sum.value, expected.values[r], 1e-6 * sum.magnitude);
                const double found =
                    dot(*find_quant_dot(type, isa), row, x_quantized, planes, static_cast<std::int64_t>(n));
                worst = std::max(worst, std::abs(found - sum.value) / sum.magnitude);
            }
            EXPECT_LE(worst, planes == Planes::both ? 0.1 * peer->error : 3e-3)
                << isa_name(isa) << planes_name(planes);
            RecordProperty(std::string(isa_name(isa)) + planes_name(planes), std::to_string(worst));
        }
}

TEST_P(QuantDotOf, ZerosGiveZeroAndWhatIsNotFiniteGivesNan) {
    const std::int64_t n = 512;
    const test::RandomTensor w(type, n, 1, 1, 10);
    std::vector<float> x(static_cast<std::size_t>(n));
    for (const Isa isa : available_isas())
        EXPECT_EQ(dot(*find_quant_dot(type, isa), w.view.row(0), quantized(x), Planes::both, n), 0.0F)
            << isa_name(isa);
    for (const float poison :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
        x[100] = poison;
        for (const Isa isa : available_isas())
            EXPECT_TRUE(
                std::isnan(dot(*find_quant_dot(type, isa), w.view.row(0), quantized(x), Planes::high, n)))
                << isa_name(isa);
    }
}

INSTANTIATE_TEST_SUITE_P(Type, QuantDotOf, testing::ValuesIn(types_with_kernels()),
                         [](const auto& param) { return std::string(quant::type_name(param.param)); });

TEST(QuantDot, FloatTypesHaveNone) {
    for (const Type type : {Type::F32, Type::F16, Type::BF16})
        EXPECT_EQ(find_quant_dot(type, Isa::scalar), nullptr);
}

}  // namespace
}  // namespace greenroom::cpu
