// Storing keys and values: float rows become rows of the cache.
//
//   F32, F16, BF16: value by value, to the nearest, ties to even.
//   Q8_0: d = peak / 127 as a half float, q = x · (127 / peak) to the nearest even.
//   Q4_0: d = peak / −8, where peak keeps its sign, q = min(15, ⌊x / d + 8.5⌋).
//
// Grid: x covers the rows of all heads in pieces of 128 values, y the positions; a warp encodes one block of
// 32 values, a lane one value. Reads 4 bytes and writes up to 4 per value: bound by the launch (a decode step
// stores a few KB).
// Tolerance: none, the bytes are those of quant::encode_row. So no operation here may be fused or be less
// exact than IEEE's: the toolkit divides exactly unless told otherwise.

#include "gpu/kernels/kv_rows.h"

#include "gpu/device.cuh"
#include "gpu/kernels/kv_values.cuh"
#include "gpu/launch_check.h"
#include "gpu/step_state.h"

#include <cmath>

namespace greenroom::gpu {
namespace {

using quant::Type;

constexpr int kThreads = 128;
constexpr std::uint16_t kHalfNan = 0x7e00;

GR_DEVICE bool is_nan(float v) { return v != v; }
GR_DEVICE bool is_finite(float v) { return (bits_as<std::uint32_t>(v) & 0x7f800000U) != 0x7f800000U; }

// To a half float, where every NaN becomes the quiet one with its sign (quant/half.h).
GR_DEVICE std::uint16_t to_half(float v) {
    if (!is_nan(v)) return float_to_half_bits(v);
    return static_cast<std::uint16_t>((bits_as<std::uint32_t>(v) >> 16 & 0x8000U) | kHalfNan);
}

// The first value of largest magnitude among the lanes', with its sign; some NaN if there is one.
GR_DEVICE float signed_peak(float x) {
    // A NaN's magnitude, as an integer, is larger than all others'.
    std::uint32_t magnitude = bits_as<std::uint32_t>(x) & 0x7fffffffU;
    int lane = lane_id();
    for (int mask = kWarpSize / 2; mask > 0; mask /= 2) {
        const std::uint32_t other = shuffle_xor(magnitude, mask);
        const int other_lane = shuffle_xor(lane, mask);
        if (other > magnitude || (other == magnitude && other_lane < lane)) {
            magnitude = other;
            lane = other_lane;
        }
    }
    return shuffle(x, lane);
}

GR_DEVICE void store_u16(std::byte* to, std::uint16_t bits) { *reinterpret_cast<std::uint16_t*>(to) = bits; }

GR_DEVICE void store_q8_0(std::byte* block, float x) {
    const float peak = fabsf(signed_peak(x));
    const float inverse = 127.0F / peak;
    const bool finite = is_finite(peak);
    // A block of zeros, or of values as good as zero, has an infinite inverse.
    const int q = finite && is_finite(inverse) ? static_cast<int>(rintf(x * inverse)) : 0;
    if (lane_id() == 0) store_u16(block, finite ? to_half(peak / 127.0F) : kHalfNan);
    block[2 + lane_id()] = static_cast<std::byte>(q & 0xff);
}

GR_DEVICE void store_q4_0(std::byte* block, float x) {
    const float peak = signed_peak(x);
    const bool finite = is_finite(peak);
    const float d = peak / -8.0F;
    float inverse = 1.0F / d;
    if (!is_finite(inverse)) inverse = 0.0F;
    int q = finite ? static_cast<int>(multiply_rounded(x, inverse) + 8.5F) : 0;
    if (q > 15) q = 15;
    const int upper = shuffle(q, lane_id() % 16 + 16);
    if (lane_id() == 0) store_u16(block, finite ? to_half(d) : kHalfNan);
    if (lane_id() < 16) block[2 + lane_id()] = static_cast<std::byte>((q | upper << 4) & 0xff);
}

__global__ void __launch_bounds__(kThreads)
    store_rows_kernel(KvRows rows, const StepState* step, ConstMatrixView from) {
    const int t = static_cast<int>(blockIdx.y);
    const auto n_values = static_cast<int>(rows.n_values);
    const int column = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
    const int n = rows.n_heads * n_values;
    const float x = column < n ? row_of(from, t)[column] : 0.0F;
    // Blocks are whole in a head's row: a warp's values are all of one.
    std::byte* row = kv_row(rows, step->first_position + t, column / n_values);
    const int i = column % n_values;
    const int block = i / 32;
    switch (rows.type) {
        case Type::F32:
            if (column < n) reinterpret_cast<float*>(row)[i] = x;
            break;
        case Type::F16:
            if (column < n) store_u16(row + 2 * i, to_half(x));
            break;
        case Type::BF16:
            if (column < n) store_u16(row + 2 * i, float_to_bf16_bits(x));
            break;
        case Type::Q8_0:
            if (column / 32 * 32 < n) store_q8_0(row + block * 34, x);
            break;
        default:
            if (column / 32 * 32 < n) store_q4_0(row + block * 18, x);
            break;
    }
}

}  // namespace

void store_rows(Stream& stream, const KvRows& rows, const StepState* step, ConstMatrixView from) {
    GR_LAUNCH_CHECK(is_kv_type(rows.type));
    GR_LAUNCH_CHECK(from.n_cols == rows.n_heads * rows.n_values && from.n_rows <= rows.n_rows);
    launch("store_rows", store_rows_kernel,
           grid_of(ceil_div<std::int64_t>(from.n_cols, kThreads), from.n_rows), grid_of(kThreads), 0, stream,
           rows, step, from);
}

}  // namespace greenroom::gpu
