// Activations to half floats with a power of two per row (half_rows.h).
//
// A block per row: the largest magnitude, then each value times the inverse scale, rounded once to the
// nearest half. Reads a row twice (the second time from the cache) and writes 2 bytes per value: bound by
// memory.

#include "gpu/kernels/half_rows.h"

#include "gpu/device.cuh"
#include "gpu/launch_check.h"

namespace greenroom::gpu {
namespace {

constexpr int kThreads = 128;

GR_DEVICE void convert_row(const HalfRows& rows, std::int64_t row, const float* x, std::int64_t n_values,
                           std::uint32_t* shared) {
    const auto me = static_cast<std::int64_t>(threadIdx.x);
    std::uint32_t largest = 0;  // magnitudes are in the order of their bits
    for (std::int64_t i = me; i < n_values; i += kThreads)
        largest = larger(largest, bits_as<std::uint32_t>(x[i]) & 0x7fffffffU);
    const std::uint32_t exponent = block_max(largest, shared) >> 23;
    // Of infinity and NaN any scale will do; below the range of 1 / scale what is left is as good as zero.
    const std::uint32_t scaled = exponent > 14 ? exponent - 14 : 1;
    const float scale = bits_as<float>(scaled << 23);
    const float inverse = bits_as<float>((254 - scaled) << 23);
    if (me == 0) rows.scales[row] = scale;
    auto* to = reinterpret_cast<std::uint32_t*>(rows.data + row * rows.stride);
    for (std::int64_t i = 2 * me; i < rows.stride; i += 2 * kThreads)
        to[i / 2] =
            pack_halves(i < n_values ? x[i] * inverse : 0.0F, i + 1 < n_values ? x[i + 1] * inverse : 0.0F);
}

__global__ void __launch_bounds__(kThreads)
    convert_kernel(HalfRows rows, ConstMatrixView x, std::int64_t n_heads, std::int64_t n_values,
                   std::int64_t head_stride) {
    __shared__ std::uint32_t shared[kWarpSize];
    const std::int64_t row = blockIdx.x;
    convert_row(rows, row, row_of(x, row / n_heads) + row % n_heads * head_stride, n_values, shared);
}

__global__ void __launch_bounds__(kThreads)
    convert_listed_kernel(HalfRows rows, ConstMatrixView x, const std::int32_t* calls,
                          const std::int32_t* first, const std::int32_t* n_groups) {
    __shared__ std::uint32_t shared[kWarpSize];
    if (static_cast<std::int32_t>(blockIdx.x) >= first[*n_groups]) return;
    const std::int64_t row = calls[blockIdx.x];
    convert_row(rows, row, row_of(x, row), x.n_cols, shared);
}

}  // namespace

HalfRows half_rows_in(std::byte* memory, std::int64_t n_rows, std::int64_t n_values) noexcept {
    const std::int64_t stride = half_row_stride(n_values);
    return {reinterpret_cast<std::uint16_t*>(memory), reinterpret_cast<float*>(memory + n_rows * stride * 2),
            stride};
}

void convert_rows(Stream& stream, HalfRows rows, ConstMatrixView x, std::int64_t n_heads,
                  std::int64_t n_values, std::int64_t head_stride) {
    GR_LAUNCH_CHECK((n_heads - 1) * head_stride + n_values <= x.n_cols && rows.stride >= n_values);
    launch("convert_rows", &convert_kernel, grid_of(x.n_rows * n_heads), grid_of(kThreads), 0, stream, rows,
           x, n_heads, n_values, head_stride);
}

void convert_listed_rows(Stream& stream, HalfRows rows, ConstMatrixView x, const std::int32_t* calls,
                         const std::int32_t* first, const std::int32_t* n_groups, std::int64_t n_most) {
    GR_LAUNCH_CHECK(rows.stride >= x.n_cols);
    launch("convert_listed_rows", &convert_listed_kernel, grid_of(n_most), grid_of(kThreads), 0, stream, rows,
           x, calls, first, n_groups);
}

}  // namespace greenroom::gpu
