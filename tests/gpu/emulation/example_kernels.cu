#include "tests/gpu/emulation/example_kernels.h"

#include "gpu/device.cuh"

#include <mma.h>

namespace greenroom::gpu {
namespace {

constexpr int kThreads = 256;

template <bool barrier>
__global__ void reverse_kernel(float* out, const float* in) {
    __shared__ float values[kThreads];
    values[threadIdx.x] = in[threadIdx.x];
    if constexpr (barrier) __syncthreads();
    out[threadIdx.x] = values[kThreads - 1 - threadIdx.x];
}

template <bool barrier>
__global__ void rotate_kernel(float* out, const float* in) {
    float* values = shared_memory<float>();
    values[threadIdx.x] = in[threadIdx.x];
    if constexpr (barrier) __syncwarp();
    out[threadIdx.x] = values[(threadIdx.x + 1) % kWarpSize];
}

template <bool barrier>
__global__ void stage_kernel(float* out, const float* in) {
    float* values = shared_memory<float>();
    copy_async_16(values + 4 * threadIdx.x, in + 4 * threadIdx.x);
    copy_async_commit();
    if constexpr (barrier) copy_async_wait<0>();
    __syncthreads();
    for (unsigned i = 0; i < 4; ++i) out[4 * threadIdx.x + i] = values[4 * threadIdx.x + i];
}

__global__ void two_barriers_kernel(float* out) {
    if (threadIdx.x < 32)
        __syncthreads();  // place: one barrier
    else
        __syncthreads();  // place: the other barrier
    out[threadIdx.x] = 1;
}

__global__ void early_return_kernel(float* out) {
    if (threadIdx.x >= 32) return;
    __syncthreads();  // place: barrier after return
    out[threadIdx.x] = 1;
}

__global__ void half_a_warp_kernel(float* out) {
    float value = 1;
    if (threadIdx.x % 32 < 16) value = warp_sum(value);  // place: half a warp
    out[threadIdx.x] = value;
}

__global__ void two_helpers_kernel(float* out) {
    __shared__ float shared[kWarpSize];
    float value = 1;
    if (threadIdx.x < 32)
        value = block_sum(value, shared);  // place: one helper
    else
        value = block_max(value, shared);  // place: the other helper
    out[threadIdx.x] = value;
}

__global__ void shuffle_part_kernel(float* out, unsigned mask) {
    if ((mask >> threadIdx.x & 1) != 0) out[threadIdx.x] = __shfl_sync(mask, out[threadIdx.x], 0);
}

__global__ void shuffle_kernel(float* out) { out[threadIdx.x] = shuffle(static_cast<float>(threadIdx.x), 3); }

__global__ void out_of_bounds_kernel(float* out) {
    out[threadIdx.x] = shared_memory<float>()[threadIdx.x + 1];
}

__global__ void sum_kernel(float* out, const float* in, int n) {
    for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < static_cast<unsigned>(n);
         i += gridDim.x * blockDim.x)
        atomicAdd(out, in[i]);
}

__global__ void wait_kernel(std::uint32_t* out, const std::uint32_t* flag, std::uint32_t value) {
    if (threadIdx.x == 0) wait_for_flag(flag, value);
    __syncthreads();
    out[threadIdx.x] = value;
}

__global__ void tile_kernel(float* c, const std::uint16_t* a, const std::uint16_t* b) {
    using namespace nvcuda;
    wmma::fragment<wmma::matrix_a, 16, 16, 16, half, wmma::row_major> tile_a;
    wmma::fragment<wmma::matrix_b, 16, 16, 16, half, wmma::row_major> tile_b;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> tile_c;
    wmma::load_matrix_sync(tile_a, reinterpret_cast<const half*>(a), 16);
    wmma::load_matrix_sync(tile_b, reinterpret_cast<const half*>(b), 16);
    wmma::fill_fragment(tile_c, 0.0F);
    wmma::mma_sync(tile_c, tile_a, tile_b, tile_c);
    wmma::store_matrix_sync(c, tile_c, 16, wmma::mem_row_major);
}

__global__ void dot_rows_kernel(float* y, const std::int8_t* w, const float* scales, const std::int8_t* x,
                                int n_cols) {
    __shared__ float partial[kWarpSize];
    const std::int8_t* row = w + static_cast<std::int64_t>(blockIdx.x) * n_cols;
    const float* row_scales = scales + static_cast<std::int64_t>(blockIdx.x) * (n_cols / 32);
    float sum = 0;
    for (int block = static_cast<int>(threadIdx.x); block < n_cols / 32;
         block += static_cast<int>(blockDim.x)) {
        int products = 0;
        for (int i = 0; i < 32; i += 4)
            products = dot4(static_cast<int>(load_u32_aligned(row + 32 * block + i)),
                            static_cast<int>(load_u32_aligned(x + 32 * block + i)), products);
        sum += row_scales[block] * static_cast<float>(products);
    }
    sum = block_sum(sum, partial);
    if (threadIdx.x == 0) y[blockIdx.x] = sum;
}

}  // namespace

void reverse_block(Stream& stream, float* out, const float* in, Barrier barrier) {
    launch("reverse", barrier == Barrier::kept ? reverse_kernel<true> : reverse_kernel<false>, 1, kThreads, 0,
           stream, out, in);
}

void rotate_warp(Stream& stream, float* out, const float* in, Barrier barrier) {
    launch("rotate", barrier == Barrier::kept ? rotate_kernel<true> : rotate_kernel<false>, 1, kWarpSize,
           kWarpSize * sizeof(float), stream, out, in);
}

void stage_rows(Stream& stream, float* out, const float* in, Barrier barrier) {
    launch("stage", barrier == Barrier::kept ? stage_kernel<true> : stage_kernel<false>, 1, kWarpSize,
           4 * kWarpSize * sizeof(float), stream, out, in);
}

void diverge(Stream& stream, float* out, Divergence kind) {
    switch (kind) {
        case Divergence::two_barriers:
            return launch("diverge", two_barriers_kernel, 1, 64, 0, stream, out);
        case Divergence::early_return:
            return launch("diverge", early_return_kernel, 1, 64, 0, stream, out);
        case Divergence::half_a_warp_shuffles:
            return launch("diverge", half_a_warp_kernel, 1, 64, 0, stream, out);
        case Divergence::two_helpers:
            return launch("diverge", two_helpers_kernel, 1, 64, 0, stream, out);
    }
}

void shuffle_part(Stream& stream, float* out, unsigned mask) {
    launch("shuffle_part", shuffle_part_kernel, 1, kWarpSize, 0, stream, out, mask);
}

void shuffle_in_block_of(Stream& stream, float* out, unsigned n_threads) {
    launch("shuffle", shuffle_kernel, 1, n_threads, 0, stream, out);
}

void read_out_of_bounds(Stream& stream, float* out) {
    launch("out_of_bounds", out_of_bounds_kernel, 1, kWarpSize, kWarpSize * sizeof(float), stream, out);
}

void sum_by_atomics(Stream& stream, float* out, const float* in, int n) {
    launch("sum", sum_kernel, 8, 64, 0, stream, out, in, n);
}

void wait_and_store(Stream& stream, std::uint32_t* out, const std::uint32_t* flag, std::uint32_t value) {
    launch("wait", wait_kernel, 1, kWarpSize, 0, stream, out, flag, value);
}

void multiply_tile(Stream& stream, float* c, const std::uint16_t* a, const std::uint16_t* b) {
    launch("tile", tile_kernel, 1, kWarpSize, 0, stream, c, a, b);
}

void dot_rows(Stream& stream, float* y, const std::int8_t* w, const float* scales, const std::int8_t* x,
              int n_rows, int n_cols) {
    launch("dot_rows", dot_rows_kernel, static_cast<unsigned>(n_rows), 128, 0, stream, y, w, scales, x,
           n_cols);
}

}  // namespace greenroom::gpu
