// Activations to blocks of 32 integers of two bytes (quantize.h).
//
// A warp per block of 32 values, a lane per value; blocks of all rows are numbered in one run. Reads 4 bytes
// and writes 2.5 per value: bound by the launch in a decode step. The products of a block's integers are
// exact, so all error of a matrix product is what is rounded here: see quantize.h.

#include "gpu/kernels/quantize.h"

#include "gpu/device.cuh"
#include "gpu/launch_check.h"

#include <cfloat>

namespace greenroom::gpu {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / kWarpSize;

// One block of a warp, from the lanes' values.
GR_DEVICE void quantize_block(ActivationBlock& block, float value) {
    // Magnitudes are in the order of their bits, with infinity and NaN at the top.
    const std::uint32_t largest = warp_max(bits_as<std::uint32_t>(value) & 0x7fffffffU);
    float scale = bits_as<float>(largest) / static_cast<float>(ActivationBlock::kLargest);
    int q = 0;
    if (largest >= 0x7f800000U)
        scale = bits_as<float>(0x7fc00000U);
    else if (scale < FLT_MIN)  // 1 / scale may be infinite
        scale = 0.0F;
    else
        q = static_cast<int>(rintf(value * (1.0F / scale)));
    const int low = static_cast<std::int8_t>(q & 0xff);
    int sum = q;
    GR_UNROLL
    for (int mask = 8; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    const int other = shuffle_xor(sum, 16);
    block.high[lane_id()] = static_cast<std::int8_t>((q - low) / 256);
    block.low[lane_id()] = static_cast<std::int8_t>(low);
    if (lane_id() % 16 == 0) block.half_sums[lane_id() / 16] = scale * static_cast<float>(sum);
    if (lane_id() == 0) {
        block.scale = scale;
        block.sum = scale * static_cast<float>(sum + other);
    }
}

__global__ void __launch_bounds__(kThreads)
    quantize_kernel(ActivationRows rows, ConstMatrixView x, std::int64_t n_heads, std::int64_t n_blocks,
                    std::int64_t head_stride) {
    const std::int64_t number = std::int64_t{blockIdx.x} * kWarps + warp_id();
    const std::int64_t row = number / n_blocks;
    const std::int64_t at = number % n_blocks;
    if (row >= x.n_rows * n_heads) return;  // whole warps
    const float* from = row_of(x, row / n_heads) + row % n_heads * head_stride;
    quantize_block(rows.data[row * rows.stride + at], from[at * ActivationBlock::kValues + lane_id()]);
}

__global__ void __launch_bounds__(kThreads)
    quantize_listed_kernel(ActivationRows rows, ConstMatrixView x, const std::int32_t* calls,
                           const std::int32_t* first, const std::int32_t* n_groups) {
    const std::int64_t n_blocks = x.n_cols / ActivationBlock::kValues;
    const std::int64_t number = std::int64_t{blockIdx.x} * kWarps + warp_id();
    const std::int64_t at = number % n_blocks;
    if (number / n_blocks >= first[*n_groups]) return;  // whole warps
    const std::int64_t row = calls[number / n_blocks];
    quantize_block(rows.data[row * rows.stride + at],
                   row_of(x, row)[at * ActivationBlock::kValues + lane_id()]);
}

}  // namespace

void quantize_rows(Stream& stream, ActivationRows rows, ConstMatrixView x, std::int64_t n_heads,
                   std::int64_t n_values, std::int64_t head_stride) {
    GR_LAUNCH_CHECK(n_values % ActivationBlock::kValues == 0);
    GR_LAUNCH_CHECK((n_heads - 1) * head_stride + n_values <= x.n_cols);
    GR_LAUNCH_CHECK(rows.stride * ActivationBlock::kValues >= n_values);
    const std::int64_t n_blocks = n_values / ActivationBlock::kValues;
    launch("quantize", &quantize_kernel,
           grid_of(ceil_div<std::int64_t>(x.n_rows * n_heads * n_blocks, kWarps)), grid_of(kThreads), 0,
           stream, rows, x, n_heads, n_blocks, head_stride);
}

void quantize_listed_rows(Stream& stream, ActivationRows rows, ConstMatrixView x, const std::int32_t* calls,
                          const std::int32_t* first, const std::int32_t* n_groups, std::int64_t n_most) {
    GR_LAUNCH_CHECK(x.n_cols % ActivationBlock::kValues == 0);
    GR_LAUNCH_CHECK(rows.stride * ActivationBlock::kValues >= x.n_cols);
    launch("quantize_listed", &quantize_listed_kernel,
           grid_of(ceil_div<std::int64_t>(n_most * (x.n_cols / ActivationBlock::kValues), kWarps)),
           grid_of(kThreads), 0, stream, rows, x, calls, first, n_groups);
}

}  // namespace greenroom::gpu
