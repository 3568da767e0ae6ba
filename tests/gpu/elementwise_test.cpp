// The small operations against the CPU's, with rows longer and shorter than a block and at a stride.

#include "gpu/kernels/elementwise.h"

#include "cpu/elementwise.h"
#include "tests/gpu/device_array.h"
#include "tests/gpu/lane_orders.h"
#include "tests/support/random_data.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace greenroom::gpu {
namespace {

using greenroom::test::random_floats;
using test::DeviceArray;

struct Shape {
    std::int64_t n_rows, n_cols, stride;
};
constexpr Shape kShapes[] = {{1, 1, 1}, {3, 50, 64}, {2, 256, 256}, {5, 700, 703}};

class Elementwise : public test::GpuTest {
  protected:
    // Runs both on copies of `before` and compares all of it, what lies between the rows included, within
    // `tolerance` of the largest value.
    template <class OnCpu, class OnGpu>
    void compare(const std::vector<float>& before, float tolerance, const OnCpu& on_cpu,
                 const OnGpu& on_gpu) {
        auto expected = before;
        on_cpu(expected.data());
        const DeviceArray<float> values(stream_, before);
        on_gpu(values.data());
        const auto result = values.download();
        float largest = 0;
        for (const float v : expected) largest = std::max(largest, std::abs(v));
        for (std::size_t i = 0; i < before.size(); ++i)
            ASSERT_NEAR(result[i], expected[i], tolerance * largest) << i;
    }

    cpu::ThreadTeam team_{1};
    Stream stream_;
};

TEST_P(Elementwise, NormsAgreeWithTheCpuAlsoInPlace) {
    for (const auto& [n_rows, n_cols, stride] : kShapes) {
        const auto x = random_floats(n_rows * stride, 1);
        const auto weight = random_floats(n_cols, 2);
        const auto bias = random_floats(n_cols, 3);
        const DeviceArray<float> device_x(stream_, x);
        const DeviceArray<float> device_weight(stream_, weight);
        const DeviceArray<float> device_bias(stream_, bias);
        const ConstMatrixView view{x.data(), n_rows, n_cols, stride};
        const ConstMatrixView device_view = device_x.matrix(n_rows, n_cols, stride);
        constexpr float tolerance = 1e-6F;
        const auto at = [&](float* data) { return MatrixView{data, n_rows, n_cols, stride}; };
        compare(
            std::vector<float>(x.size(), -1.0F), tolerance,
            [&](float* out) { cpu::rms_norm(team_, at(out), view, weight.data(), 1e-5F); },
            [&](float* out) { rms_norm(stream_, at(out), device_view, device_weight.data(), 1e-5F); });
        compare(
            x, tolerance, [&](float* out) { cpu::rms_norm(team_, at(out), at(out), nullptr, 1e-5F); },
            [&](float* out) { rms_norm(stream_, at(out), at(out), nullptr, 1e-5F); });
        compare(
            std::vector<float>(x.size(), -1.0F), tolerance,
            [&](float* out) { cpu::layer_norm(team_, at(out), view, weight.data(), bias.data(), 1e-5F); },
            [&](float* out) {
                layer_norm(stream_, at(out), device_view, device_weight.data(), device_bias.data(), 1e-5F);
            });
        compare(
            x, tolerance,
            [&](float* out) { cpu::layer_norm(team_, at(out), at(out), weight.data(), bias.data(), 1e-5F); },
            [&](float* out) {
                layer_norm(stream_, at(out), at(out), device_weight.data(), device_bias.data(), 1e-5F);
            });
    }
}

// A variance from sums of squares would be all rounding error.
TEST_P(Elementwise, LayerNormKeepsItsDigitsFarFromZero) {
    auto x = random_floats(600, 1);
    for (float& v : x) v += 10000.0F;
    const std::vector<float> ones(600, 1.0F);
    const std::vector<float> zeros(600, 0.0F);
    const DeviceArray<float> device_ones(stream_, ones);
    const DeviceArray<float> device_zeros(stream_, zeros);
    compare(
        x, 1e-3F,  // x itself has no more digits
        [&](float* out) {
            cpu::layer_norm(team_, {out, 1, 600, 600}, {out, 1, 600, 600}, ones.data(), zeros.data(), 0);
        },
        [&](float* out) {
            layer_norm(stream_, {out, 1, 600, 600}, {out, 1, 600, 600}, device_ones.data(),
                       device_zeros.data(), 0);
        });
}

TEST_P(Elementwise, GluAgreesWithTheCpuOverItsWholeRange) {
    for (const auto& [n_rows, n_cols, stride] : kShapes) {
        const auto gate_values = random_floats(n_rows * stride, 1, 8.0F);
        const auto up = random_floats(n_rows * stride, 2, 8.0F);
        const DeviceArray<float> device_up(stream_, up);
        for (const Glu kind : {Glu::silu, Glu::clamped_swiglu})
            compare(
                gate_values, 1e-6F,
                [&](float* x) {
                    cpu::glu(team_, {x, n_rows, n_cols, stride}, {up.data(), n_rows, n_cols, stride}, kind);
                },
                [&](float* x) {
                    glu(stream_, {x, n_rows, n_cols, stride}, device_up.matrix(n_rows, n_cols, stride), kind);
                });
    }
}

TEST_P(Elementwise, SumsAndProductsAgreeWithTheCpu) {
    for (const auto& [n_rows, n_cols, stride] : kShapes) {
        const auto x = random_floats(n_rows * stride, 1);
        const auto y = random_floats(n_rows * stride, 2);
        const DeviceArray<float> device_y(stream_, y);
        const ConstMatrixView view{y.data(), n_rows, n_cols, stride};
        const ConstMatrixView device_view = device_y.matrix(n_rows, n_cols, stride);
        const ConstMatrixView column{y.data(), n_rows, 1, stride};
        const ConstMatrixView device_column = device_y.matrix(n_rows, 1, stride);
        const auto at = [&](float* data) { return MatrixView{data, n_rows, n_cols, stride}; };
        const std::span<const float> factors(y.data(), static_cast<std::size_t>(n_rows));
        compare(
            x, 0, [&](float* out) { cpu::add_bias(team_, at(out), y.data()); },
            [&](float* out) { add_bias(stream_, at(out), device_y.data()); });
        compare(
            x, 0, [&](float* out) { cpu::scale(team_, at(out), 0.3F); },
            [&](float* out) { scale(stream_, at(out), 0.3F); });
        compare(
            x, 0, [&](float* out) { cpu::scale_rows(team_, at(out), factors); },
            [&](float* out) { scale_rows(stream_, at(out), device_y.data()); });
        compare(
            x, 0, [&](float* out) { cpu::add(team_, at(out), view); },
            [&](float* out) { add(stream_, at(out), device_view); });
        compare(
            x, 0, [&](float* out) { cpu::copy(at(out), view); },
            [&](float* out) { copy(stream_, at(out), device_view); });
        compare(
            x, 1e-6F, [&](float* out) { cpu::gate_rows(team_, at(out), column); },
            [&](float* out) { gate_rows(stream_, at(out), device_column); });
        compare(
            x, 1e-6F, [&](float* out) { cpu::gate(team_, at(out), view); },
            [&](float* out) { gate(stream_, at(out), device_view); });
    }
}

// More rows than a grid has blocks in y.
TEST_P(Elementwise, ManyRowsAreAllVisited) {
    constexpr std::int64_t n_rows = 70000;
    compare(
        random_floats(n_rows, 1), 0,
        [&](float* x) {
            cpu::scale(team_, {x, n_rows, 1, 1}, 2.0F);
        },
        [&](float* x) {
            scale(stream_, {x, n_rows, 1, 1}, 2.0F);
        });
}

TEST_P(Elementwise, NoRowsAreNoWork) {
    const DeviceArray<float> x(stream_, 1);
    scale(stream_, {x.data(), 0, 5, 5}, 2.0F);
    rms_norm(stream_, {x.data(), 0, 5, 5}, {x.data(), 0, 5, 5}, nullptr, 1e-5F);
    stream_.synchronize();
}

GR_RUN_IN_LANE_ORDERS(Elementwise);

}  // namespace
}  // namespace greenroom::gpu
