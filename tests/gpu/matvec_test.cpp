#include "gpu/kernels/matvec.h"

#include "gpu/stream.h"
#include "tests/gpu/lane_orders.h"
#include "tests/gpu/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace greenroom::gpu {
namespace {

using quant::Type;
using test::DeviceArray;
using test::DeviceTensor;

class Matvec : public test::GpuTest {
  protected:
    struct Shape {
        std::int64_t n_in;
        std::int64_t n_out;
        std::int64_t n_tokens;
        std::int64_t n_heads = 1;
        std::int64_t gap = 0;  // floats between the heads' parts of a row
    };

    // Every output of a product against double. transposed: the matrices are [n_in rows, n_out].
    void check(Type type, const Shape& shape, Activations activations, bool transposed = false) {
        SCOPED_TRACE(testing::Message() << quant::type_name(type) << ", n_in " << shape.n_in << ", n_out "
                                        << shape.n_out << ", tokens " << shape.n_tokens);
        const DeviceTensor w(stream_, type, transposed ? shape.n_out : shape.n_in,
                             transposed ? shape.n_in : shape.n_out, shape.n_heads, 1);
        const std::int64_t x_stride = shape.n_in + shape.gap;
        const std::int64_t out_stride = shape.n_out + shape.gap;
        const std::vector<float> x = test::random_floats(shape.n_tokens * shape.n_heads * x_stride, 2);
        const DeviceArray<float> device_x(stream_, x);
        const DeviceArray<float> out(stream_,
                                     static_cast<std::size_t>(shape.n_tokens * shape.n_heads * out_stride));
        const DeviceArray<std::byte> scratch(
            stream_,
            static_cast<std::size_t>(
                matvec_scratch_bytes(type, activations, shape.n_tokens, shape.n_in, shape.n_heads) + 16));
        const MatrixView out_view = out.matrix(shape.n_tokens, shape.n_heads * out_stride);
        const MatrixView x_view = device_x.matrix(shape.n_tokens, shape.n_heads * x_stride);
        const std::span<std::byte> scratch_span(scratch.data(), scratch.size());
        if (transposed)
            matvec_heads_transposed(stream_, out_view, out_stride, w.view, x_view, x_stride);
        else if (shape.n_heads == 1)
            matvec(stream_, out_view, w.view, x_view, activations, scratch_span);
        else
            matvec_heads(stream_, out_view, out_stride, w.view, x_view, x_stride, activations, scratch_span);
        const std::vector<float> result = out.download();

        const bool integers = !transposed && takes_integers(type, activations);
        std::vector<double> column(static_cast<std::size_t>(shape.n_in));
        for (std::int64_t t = 0; t < shape.n_tokens; ++t)
            for (std::int64_t h = 0; h < shape.n_heads; ++h)
                for (std::int64_t r = 0; r < out_stride; ++r) {
                    const float y =
                        result[static_cast<std::size_t>((t * shape.n_heads + h) * out_stride + r)];
                    if (r >= shape.n_out) {
                        ASSERT_TRUE(std::isnan(y)) << "written between the heads";
                        continue;
                    }
                    const double* row = transposed ? column.data() : w.row(h * shape.n_out + r);
                    if (transposed)
                        for (std::int64_t i = 0; i < shape.n_in; ++i)
                            column[static_cast<std::size_t>(i)] = w.row(h * shape.n_in + i)[r];
                    const test::ExpectedDot expected =
                        test::expected_dot(row, x.data() + (t * shape.n_heads + h) * x_stride, shape.n_in,
                                           integers ? test::kIntegerError : 0);
                    ASSERT_NEAR(y, expected.value, expected.tolerance) << "token " << t << ", row " << r;
                }
    }

    std::int64_t one_block(Type type) const {
        return std::max<std::int64_t>(quant::type_info(type).block_values, 4);
    }

    Stream stream_;
};

TEST_P(Matvec, EveryTypeMeetsDouble) {
    for (const Type type : test::weight_types())
        for (const Activations activations : {Activations::int16, Activations::f32}) {
            check(type, {one_block(type), 1, 1}, activations);
            check(type, {3 * one_block(type), 5, 2}, activations);
        }
}

TEST_P(Matvec, AnyNumberOfVectors) {
    for (const std::int64_t n_tokens : {3, 4, 5, 8, 9, 17}) {
        check(Type::Q4_K, {512, 3, n_tokens}, Activations::int16);
        check(Type::Q4_K, {256, 3, n_tokens}, Activations::f32);
        check(Type::F16, {96, 3, n_tokens}, Activations::int16);
    }
}

// Teams of 8, 16 and 32 lanes, with and without a last round that is not full.
TEST_P(Matvec, RowsOfAnyLength) {
    for (const std::int64_t n_blocks : {1, 7, 8, 9, 16, 24, 31, 32, 33, 64, 65}) {
        check(Type::Q8_0, {32 * n_blocks, 37, 1}, Activations::int16);
        check(Type::Q8_0, {32 * n_blocks, 2, 1}, Activations::f32);
    }
    for (const std::int64_t n_in : {1, 2, 3, 5, 127, 129, 131, 510})
        for (const Type type : {Type::F32, Type::F16, Type::BF16})
            check(type, {n_in, 9, 2}, Activations::f32);
}

TEST_P(Matvec, AMatrixPerHead) {
    for (const std::int64_t gap : {0, 5}) {
        check(Type::Q4_0, {64, 6, 3, 4, gap}, Activations::int16);
        check(Type::Q4_0, {64, 6, 3, 4, gap}, Activations::f32);
        check(Type::BF16, {40, 6, 3, 4, gap}, Activations::int16);
    }
}

TEST_P(Matvec, TransposedForEveryType) {
    for (const Type type : test::weight_types())
        check(type, {5, 2 * one_block(type), 1, 2}, Activations::f32, true);
}

TEST_P(Matvec, TransposedOfAwkwardShapes) {
    check(Type::F16, {1, 1, 1, 1}, Activations::f32, true);
    check(Type::F32, {19, 515, 3, 2, 3}, Activations::f32, true);
    check(Type::Q8_0, {8, 1056, 9, 1}, Activations::f32, true);
}

// A token's result does not depend on its neighbours.
TEST_P(Matvec, BitsDoNotDependOnTheBatch) {
    constexpr std::int64_t kIn = 768;
    constexpr std::int64_t kOut = 4;
    constexpr std::int64_t kTokens = 11;
    for (const Activations activations : {Activations::int16, Activations::f32}) {
        const DeviceTensor w(stream_, Type::Q5_K, kIn, kOut, 1, 3);
        const DeviceArray<float> x(stream_, test::random_floats(kTokens * kIn, 4));
        const DeviceArray<std::byte> scratch(
            stream_,
            static_cast<std::size_t>(matvec_scratch_bytes(w.view.type, activations, kTokens, kIn) + 16));
        const std::span<std::byte> scratch_span(scratch.data(), scratch.size());
        const DeviceArray<float> together(stream_, kTokens * kOut);
        matvec(stream_, together.matrix(kTokens, kOut), w.view, x.matrix(kTokens, kIn), activations,
               scratch_span);
        const DeviceArray<float> alone(stream_, kTokens * kOut);
        for (std::int64_t t = 0; t < kTokens; ++t)
            matvec(stream_, alone.matrix(kTokens, kOut).rows(t, 1), w.view, x.matrix(kTokens, kIn).rows(t, 1),
                   activations, scratch_span);
        EXPECT_EQ(together.download(), alone.download());
    }
}

TEST_P(Matvec, AnInfinityMakesTheResultNan) {
    std::vector<float> x = test::random_floats(64, 5);
    x[40] = std::numeric_limits<float>::infinity();
    const DeviceTensor w(stream_, Type::Q4_0, 64, 3, 1, 6);
    const DeviceArray<float> device_x(stream_, x);
    const DeviceArray<float> out(stream_, 3);
    const DeviceArray<std::byte> scratch(
        stream_, static_cast<std::size_t>(matvec_scratch_bytes(Type::Q4_0, Activations::int16, 1, 64)));
    matvec(stream_, out.matrix(1, 3), w.view, device_x.matrix(1, 64), Activations::int16,
           {scratch.data(), scratch.size()});
    for (const float y : out.download()) EXPECT_TRUE(std::isnan(y)) << y;
}

GR_RUN_IN_LANE_ORDERS(Matvec);

}  // namespace
}  // namespace greenroom::gpu
