#pragma once

// Weights of every type for tests of kernels, and products with them in double.

#include "quant/base/op_params.h"
#include "quant/types.h"
#include "tests/gpu/device_array.h"
#include "tests/support/random_data.h"
#include "tests/support/random_tensor.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace greenroom::gpu::test {

using greenroom::test::random_floats;
using greenroom::test::RandomTensor;

// All that a file may have: Q8_K holds activations.
inline std::vector<quant::Type> weight_types() {
    std::vector<quant::Type> types;
    for (std::uint32_t id = 0; id < 64; ++id)
        if (const quant::TypeInfo* info = quant::find_type(id))
            if (info->decodable && info->type != quant::Type::Q8_K) types.push_back(info->type);
    return types;
}

inline bool is_float(quant::Type type) { return quant::type_info(type).block_values == 1; }

// A stack of matrices of random blocks, on the host as values and on the device as bytes.
struct DeviceTensor {
    DeviceTensor(Stream& stream, quant::Type type, std::int64_t n_in, std::int64_t n_out,
                 std::int64_t n_stack, unsigned seed)
        : DeviceTensor(stream, RandomTensor(type, n_in, n_out, n_stack, seed)) {}
    DeviceTensor(Stream& stream, const RandomTensor& tensor)
        : values(tensor.decoded()), bytes(stream, tensor.bytes), view(tensor.view) {
        view.data = bytes.data();
    }

    // Row r of all the stack's.
    const double* row(std::int64_t r) const { return values.data() + r * view.row_values(); }

    std::vector<double> values;
    DeviceArray<std::byte> bytes;
    TensorView view;
};

// A dot product in double, and how far a kernel's may be off.
struct ExpectedDot {
    double value = 0;
    double tolerance = 0;
};

// integer_error: what a vector's rounding to integers may cost, relative to the largest of 32 values: half of
// a step of 1 / 32639 (gpu/kernels/quantize.h), or 0. The sum is of float32: each of the products and sums is
// rounded by 2^-24, and the roundings of n of them add up to less than 2^-22 √n of the sum of magnitudes.
inline ExpectedDot expected_dot(const double* w, const float* x, std::int64_t n, double integer_error) {
    ExpectedDot dot;
    double magnitudes = 0;
    for (std::int64_t first = 0; first < n; first += 32) {
        const std::int64_t last = std::min(first + 32, n);
        double largest = 0;
        for (std::int64_t i = first; i < last; ++i) largest = std::max(largest, std::fabs(double{x[i]}));
        for (std::int64_t i = first; i < last; ++i) {
            dot.value += w[i] * double{x[i]};
            magnitudes += std::fabs(w[i] * double{x[i]});
            dot.tolerance += std::fabs(w[i]) * largest * integer_error;
        }
    }
    dot.tolerance += magnitudes * std::sqrt(static_cast<double>(n)) * 0x1p-22 + 1e-30;
    return dot;
}

inline constexpr double kIntegerError = 1.0 / 65278;

// What rounding both factors to half floats may cost (gpu/kernels/gemm.h): each is off by 2^-11 of itself,
// or, where it is too small for that, a weight by 2^-25 and a value by 2^-39 of its row's largest. The tensor
// cores' sums are no worse than float32 that truncates: 2^-22 of the magnitudes for each of n / 4 sums at
// most, of which there is no need here to say how they cancel.
inline double half_tolerance(const double* w, const float* x, std::int64_t n) {
    double largest = 0;
    for (std::int64_t i = 0; i < n; ++i) largest = std::max(largest, std::fabs(double{x[i]}));
    double tolerance = 1e-30;
    for (std::int64_t i = 0; i < n; ++i)
        tolerance += std::fabs(w[i] * double{x[i]}) * (0x1.01p-10 + static_cast<double>(n) * 0x1p-24) +
                     std::fabs(double{x[i]}) * 0x1p-25 + std::fabs(w[i]) * largest * 0x1p-39;
    return tolerance;
}

}  // namespace greenroom::gpu::test
