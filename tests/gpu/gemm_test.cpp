#include "gpu/kernels/gemm.h"

#include "gpu/kernels/matmul.h"
#include "gpu/stream.h"
#include "tests/gpu/lane_orders.h"
#include "tests/gpu/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace greenroom::gpu {
namespace {

using quant::Type;
using test::DeviceArray;
using test::DeviceTensor;

class Gemm : public test::GpuTest {
  protected:
    struct Shape {
        std::int64_t n_in;
        std::int64_t n_out;
        std::int64_t n_tokens;
        std::int64_t n_heads = 1;
        std::int64_t gap = 0;  // floats between the heads' parts of a row
    };

    void check(Type type, const Shape& shape, Activations activations) {
        SCOPED_TRACE(testing::Message() << quant::type_name(type) << ", n_in " << shape.n_in << ", n_out "
                                        << shape.n_out << ", tokens " << shape.n_tokens);
        const DeviceTensor w(stream_, type, shape.n_in, shape.n_out, shape.n_heads, 1);
        const std::int64_t x_stride = shape.n_in + shape.gap;
        const std::int64_t out_stride = shape.n_out + shape.gap;
        const std::vector<float> x = test::random_floats(shape.n_tokens * shape.n_heads * x_stride, 2);
        const DeviceArray<float> device_x(stream_, x);
        const DeviceArray<float> out(stream_,
                                     static_cast<std::size_t>(shape.n_tokens * shape.n_heads * out_stride));
        const DeviceArray<std::byte> scratch(
            stream_,
            static_cast<std::size_t>(
                gemm_scratch_bytes(type, activations, shape.n_tokens, shape.n_in, shape.n_heads) + 16));
        const MatrixView out_view = out.matrix(shape.n_tokens, shape.n_heads * out_stride);
        const MatrixView x_view = device_x.matrix(shape.n_tokens, shape.n_heads * x_stride);
        if (shape.n_heads == 1)
            gemm(stream_, out_view, w.view, x_view, activations, {scratch.data(), scratch.size()});
        else
            gemm_heads(stream_, out_view, out_stride, w.view, x_view, x_stride, activations,
                       {scratch.data(), scratch.size()});
        const std::vector<float> result = out.download();

        const bool halves = takes_halves(type, activations);
        for (std::int64_t t = 0; t < shape.n_tokens; ++t)
            for (std::int64_t h = 0; h < shape.n_heads; ++h)
                for (std::int64_t r = 0; r < out_stride; ++r) {
                    const float y =
                        result[static_cast<std::size_t>((t * shape.n_heads + h) * out_stride + r)];
                    if (r >= shape.n_out) {
                        ASSERT_TRUE(std::isnan(y)) << "written between the heads";
                        continue;
                    }
                    const float* vector = x.data() + (t * shape.n_heads + h) * x_stride;
                    const double* row = w.row(h * shape.n_out + r);
                    const test::ExpectedDot expected = test::expected_dot(row, vector, shape.n_in, 0);
                    const double tolerance =
                        expected.tolerance + (halves ? test::half_tolerance(row, vector, shape.n_in) : 0);
                    ASSERT_NEAR(y, expected.value, tolerance) << "token " << t << ", row " << r;
                }
    }

    Stream stream_;
};

TEST_P(Gemm, EveryTypeMeetsDouble) {
    for (const Type type : test::weight_types())
        for (const Activations activations : {Activations::int16, Activations::f32})
            check(type, {std::max(32, quant::type_info(type).block_values), 3, 2}, activations);
}

// Rows, tokens and steps that fill a tile, and that do not.
TEST_P(Gemm, AwkwardShapes) {
    for (const Activations activations : {Activations::int16, Activations::f32}) {
        check(Type::Q8_0, {32, 1, 1}, activations);
        check(Type::Q8_0, {96, 64, 64}, activations);
        check(Type::Q4_0, {64, 65, 3}, activations);
        check(Type::Q4_0, {64, 7, 67}, activations);
        check(Type::BF16, {1, 2, 9}, activations);
        check(Type::F16, {77, 5, 9}, activations);
    }
}

TEST_P(Gemm, AMatrixPerHead) {
    for (const std::int64_t gap : {0, 5}) {
        check(Type::Q4_0, {64, 6, 9, 3, gap}, Activations::int16);
        check(Type::Q4_0, {64, 6, 9, 3, gap}, Activations::f32);
    }
}

// Against double, through matmul_heads_transposed(), which takes these tokens and types in half floats.
TEST_P(Gemm, Transposed) {
    for (const Type type : {Type::Q8_0, Type::Q4_K, Type::BF16})
        for (const std::int64_t n_in : {5, 67}) {
            constexpr std::int64_t kTokens = 9;
            constexpr std::int64_t kHeads = 2;
            const std::int64_t n_out = test::is_float(type) ? 75 : 256;
            const DeviceTensor w(stream_, type, n_out, n_in, kHeads, 1);
            const std::vector<float> x = test::random_floats(kTokens * kHeads * n_in, 2);
            const DeviceArray<float> device_x(stream_, x);
            const DeviceArray<float> out(stream_, static_cast<std::size_t>(kTokens * kHeads * n_out));
            const DeviceArray<std::byte> scratch(
                stream_, static_cast<std::size_t>(
                             matmul_scratch_bytes(type, Activations::int16, kTokens, n_in, kHeads)));
            matmul_heads_transposed(stream_, out.matrix(kTokens, kHeads * n_out), n_out, w.view,
                                    device_x.matrix(kTokens, kHeads * n_in), n_in, Activations::int16,
                                    {scratch.data(), scratch.size()});
            const std::vector<float> result = out.download();
            std::vector<double> column(static_cast<std::size_t>(n_in));
            for (std::int64_t h = 0; h < kHeads; ++h)
                for (std::int64_t i = 0; i < n_out; ++i) {
                    for (std::int64_t r = 0; r < n_in; ++r)
                        column[static_cast<std::size_t>(r)] = w.row(h * n_in + r)[i];
                    for (std::int64_t t = 0; t < kTokens; ++t) {
                        const float* vector = x.data() + (t * kHeads + h) * n_in;
                        ASSERT_NEAR(result[static_cast<std::size_t>((t * kHeads + h) * n_out + i)],
                                    test::expected_dot(column.data(), vector, n_in, 0).value,
                                    test::half_tolerance(column.data(), vector, n_in))
                            << quant::type_name(type) << ", token " << t << ", column " << i;
                    }
                }
        }
}

// What does not fit into a half float: the vectors' scales take care of it.
TEST_P(Gemm, LargeAndSmallActivations) {
    const DeviceTensor w(stream_, Type::Q8_0, 64, 4, 1, 3);
    std::vector<float> x = test::random_floats(3 * 64, 4);
    for (std::size_t i = 0; i < 64; ++i) {
        x[i] *= 1e7F;
        x[64 + i] *= 1e-9F;
        x[128 + i] = i == 7 ? std::numeric_limits<float>::quiet_NaN() : x[128 + i];
    }
    const DeviceArray<float> device_x(stream_, x);
    const DeviceArray<float> out(stream_, 12);
    const DeviceArray<std::byte> scratch(
        stream_, static_cast<std::size_t>(gemm_scratch_bytes(Type::Q8_0, Activations::int16, 3, 64)));
    gemm(stream_, out.matrix(3, 4), w.view, device_x.matrix(3, 64), Activations::int16,
         {scratch.data(), scratch.size()});
    const std::vector<float> result = out.download();
    for (std::int64_t t = 0; t < 2; ++t)
        for (std::int64_t r = 0; r < 4; ++r) {
            const float* vector = x.data() + 64 * t;
            EXPECT_NEAR(result[static_cast<std::size_t>(4 * t + r)],
                        test::expected_dot(w.row(r), vector, 64, 0).value,
                        test::half_tolerance(w.row(r), vector, 64));
        }
    for (std::size_t i = 8; i < 12; ++i) EXPECT_TRUE(std::isnan(result[i]));
}

// matmul() takes either way, and scratch for more vectors serves fewer.
TEST_P(Gemm, MatmulChoosesByTheNumberOfVectors) {
    const DeviceTensor w(stream_, Type::Q6_K, 256, 3, 1, 5);
    const std::vector<float> x = test::random_floats(9 * 256, 6);
    const DeviceArray<float> device_x(stream_, x);
    const DeviceArray<std::byte> scratch(
        stream_, static_cast<std::size_t>(matmul_scratch_bytes(Type::Q6_K, Activations::int16, 9, 256)));
    for (const std::int64_t n : {1, 8, 9}) {
        const DeviceArray<float> out(stream_, static_cast<std::size_t>(3 * n));
        matmul(stream_, out.matrix(n, 3), w.view, device_x.matrix(n, 256), Activations::int16,
               {scratch.data(), scratch.size()});
        const std::vector<float> result = out.download();
        for (std::int64_t t = 0; t < n; ++t)
            for (std::int64_t r = 0; r < 3; ++r) {
                const float* vector = x.data() + 256 * t;
                const test::ExpectedDot expected =
                    test::expected_dot(w.row(r), vector, 256, test::kIntegerError);
                EXPECT_NEAR(result[static_cast<std::size_t>(3 * t + r)], expected.value,
                            n <= kMaxMatvecVectors ? expected.tolerance
                                                   : test::half_tolerance(w.row(r), vector, 256));
            }
    }
}

GR_RUN_IN_LANE_ORDERS(Gemm);

}  // namespace
}  // namespace greenroom::gpu
