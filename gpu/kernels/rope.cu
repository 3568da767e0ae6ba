// Rotary embedding.
//
//   angles[t] = magnitude · (cos θ_0, sin θ_0, …), θ_i = position[t] · frequency[i]
//   (x_a, x_b) ← (x_a cos θ − x_b sin θ, x_a sin θ + x_b cos θ)
//
// A thread makes one angle or turns one pair; blocks of 128 threads cover a row's pairs (grid x) and the rows
// (grid y). Reads and writes 8 bytes per pair and 8 of angles, which stay in the cache for all heads: bound
// by the launch for a few tokens, by memory for many. Tolerance: cos and sin within 2 ulp of the exact ones
// for any angle (the toolkit's own error bound; no fast math), the rotation within one rounding per
// operation.

#include "gpu/kernels/rope.h"

#include "gpu/device.cuh"
#include "gpu/launch_check.h"
#include "gpu/step_state.h"

#include <cmath>

namespace greenroom::gpu {
namespace {

constexpr int kThreads = 128;

// positions, or nullptr for those from step->first_position on.
__global__ void rope_angles_kernel(MatrixView out, const std::int32_t* positions, const StepState* step,
                                   const float* frequencies, int n_frequencies, float magnitude) {
    const int t = static_cast<int>(blockIdx.y);
    const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
    if (i >= n_frequencies) return;
    const std::int32_t position = positions != nullptr ? positions[t] : step->first_position + t;
    const float theta = static_cast<float>(position) * frequencies[i];
    float* row = row_of(out, t);
    row[2 * i] = cosf(theta) * magnitude;
    row[2 * i + 1] = sinf(theta) * magnitude;
}

// Pair i of a head has its values `step` · i and `step` · i + distance.
__global__ void rope_kernel(MatrixView out, std::int64_t out_stride, ConstMatrixView x, std::int64_t x_stride,
                            int n_heads, ConstMatrixView angles, int step, int distance) {
    const int n_pairs = static_cast<int>(angles.n_cols / 2);
    const auto t = static_cast<std::int64_t>(blockIdx.y);
    const int item = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
    if (item >= n_heads * n_pairs) return;
    const int head = item / n_pairs;
    const int i = item % n_pairs;
    const float cosine = row_of(angles, t)[2 * i];
    const float sine = row_of(angles, t)[2 * i + 1];
    const float* from = row_of(x, t) + head * x_stride + i * step;
    float* to = row_of(out, t) + head * out_stride + i * step;
    const float a = from[0];
    const float b = from[distance];
    to[0] = a * cosine - b * sine;
    to[distance] = a * sine + b * cosine;
}

void launch_angles(Stream& stream, MatrixView out, const std::int32_t* positions, const StepState* step,
                   std::span<const float> frequencies, float magnitude) {
    const auto n = static_cast<int>(frequencies.size());
    GR_LAUNCH_CHECK(out.n_cols == 2 * std::int64_t{n});
    if (out.n_rows == 0 || n == 0) return;
    launch("rope_angles", rope_angles_kernel, grid_of(ceil_div(n, kThreads), out.n_rows), grid_of(kThreads),
           0, stream, out, positions, step, frequencies.data(), n, magnitude);
}

}  // namespace

void rope_angles(Stream& stream, MatrixView out, std::span<const std::int32_t> positions,
                 std::span<const float> frequencies, float magnitude) {
    GR_LAUNCH_CHECK(out.n_rows == static_cast<std::int64_t>(positions.size()));
    launch_angles(stream, out, positions.data(), nullptr, frequencies, magnitude);
}

void rope_angles(Stream& stream, MatrixView out, const StepState* step, std::span<const float> frequencies,
                 float magnitude) {
    launch_angles(stream, out, nullptr, step, frequencies, magnitude);
}

void rope(Stream& stream, MatrixView out, std::int64_t out_stride, ConstMatrixView x, std::int64_t x_stride,
          int n_heads, ConstMatrixView angles, RopePairing pairing) {
    GR_LAUNCH_CHECK(x.n_rows == angles.n_rows && (n_heads - 1) * x_stride + angles.n_cols <= x.n_cols);
    GR_LAUNCH_CHECK(out.n_rows == x.n_rows && (n_heads - 1) * out_stride + angles.n_cols <= out.n_cols);
    const auto n_pairs = static_cast<int>(angles.n_cols / 2);
    if (x.n_rows == 0 || n_pairs == 0) return;
    const bool neighbours = pairing == RopePairing::neighbours;
    launch("rope", rope_kernel, grid_of(ceil_div(n_heads * n_pairs, kThreads), x.n_rows), grid_of(kThreads),
           0, stream, out, out_stride, x, x_stride, n_heads, angles, neighbours ? 2 : 1,
           neighbours ? 1 : n_pairs);
}

}  // namespace greenroom::gpu
