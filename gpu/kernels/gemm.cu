// Matrix · many vectors:  out[t][r] = Σ_k w[r][k] · x[t][k], for a stack of matrices (heads).
//
// A block computes a tile of 64 rows and 64 tokens (tile_product.cuh). Grid: x the rows, y the tokens, z the
// heads, so blocks that run together share the tokens' values and, a step later, the weights in the L2 cache.
// Reads a matrix and decodes it once per 64 tokens. Bound by the tensor cores (HalfTile) or by float32
// arithmetic (FloatTile). Tolerance: gemm.h, tests/gpu/gemm_test.cpp.

#include "gpu/kernels/gemm.h"

#include "gpu/blocks.cuh"
#include "gpu/device.cuh"
#include "gpu/kernels/half_rows.h"
#include "gpu/kernels/tile_product.cuh"
#include "gpu/launch_check.h"

namespace greenroom::gpu {
namespace {

struct Weights {
    const std::byte* data;
    std::int64_t row_bytes;
    std::int64_t matrix_bytes;  // from head to head
    std::int64_t n_rows;
    std::int64_t n_values;
};

// Vector t of head h is at data + t · stride + h · head_stride, its scale (nullptr: 1) is scales[t · n_heads
// + h].
template <class Value>
struct Vectors {
    const Value* data;
    std::int64_t stride;
    std::int64_t head_stride;
    const float* scales;
    std::int64_t n_heads;
};

template <class T, class Tile>
__global__ void __launch_bounds__(kTileThreads)
    gemm_kernel(Weights w, Vectors<typename Tile::Value> x, MatrixView out, std::int64_t out_head_stride) {
    __shared__ TileMemory memory;
    const std::int64_t head = blockIdx.z;
    const std::int64_t first_row = std::int64_t{blockIdx.x} * kTileRows;
    const std::int64_t first_token = std::int64_t{blockIdx.y} * kTileVectors;
    const std::int64_t row = first_row + threadIdx.x / 2;
    const std::int64_t token = first_token + threadIdx.x / 2;
    tile_product<T>(
        Tile{}, memory, row < w.n_rows ? w.data + head * w.matrix_bytes + row * w.row_bytes : nullptr,
        token < out.n_rows ? x.data + token * x.stride + head * x.head_stride : nullptr, w.n_values);
    for (int i = static_cast<int>(threadIdx.x); i < kTileRows * kTileVectors; i += kTileThreads) {
        const std::int64_t r = first_row + i % kTileRows;
        const std::int64_t t = first_token + i / kTileRows;
        if (r >= w.n_rows || t >= out.n_rows) continue;
        const float scale = x.scales == nullptr ? 1.0F : x.scales[t * x.n_heads + head];
        row_of(out, t)[head * out_head_stride + r] = scale * memory.results[i / kTileRows][i % kTileRows];
    }
}

}  // namespace

bool takes_halves(quant::Type type, Activations activations) noexcept {
    return activations != Activations::f32 && type != quant::Type::F32;
}

std::int64_t gemm_scratch_bytes(quant::Type type, Activations activations, std::int64_t n_vectors,
                                std::int64_t n_in, std::int64_t n_heads) noexcept {
    return takes_halves(type, activations) ? half_rows_bytes(n_vectors * n_heads, n_in) : 0;
}

void gemm(Stream& stream, MatrixView out, const TensorView& w, ConstMatrixView x, Activations activations,
          std::span<std::byte> scratch) {
    GR_LAUNCH_CHECK(x.n_cols == w.row_values() && out.n_cols == w.shape[1] && w.shape[2] == 1);
    gemm_heads(stream, out, 0, w, x, 0, activations, scratch);
}

void gemm_heads(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                ConstMatrixView x, std::int64_t x_stride, Activations activations,
                std::span<std::byte> scratch) {
    const std::int64_t n_heads = w.shape[2];
    const std::int64_t n_in = w.row_values();
    GR_LAUNCH_CHECK(x.n_rows == out.n_rows && x.n_cols >= (n_heads - 1) * x_stride + n_in);
    GR_LAUNCH_CHECK(out.n_cols >= (n_heads - 1) * out_stride + w.shape[1]);
    GR_LAUNCH_CHECK(reinterpret_cast<std::uintptr_t>(w.data) % matrix_alignment(w.type) == 0);
    const Weights weights{w.data, w.row_bytes(), w.matrix(1).data - w.data, w.shape[1], n_in};
    const dim3 grid = grid_of(ceil_div<std::int64_t>(weights.n_rows, kTileRows),
                              ceil_div<std::int64_t>(out.n_rows, kTileVectors), n_heads);
    if (takes_halves(w.type, activations)) {
        GR_LAUNCH_CHECK(static_cast<std::int64_t>(scratch.size()) >=
                        half_rows_bytes(x.n_rows * n_heads, n_in));
        const HalfRows rows = half_rows_in(scratch.data(), x.n_rows * n_heads, n_in);
        convert_rows(stream, rows, x, n_heads, n_in, x_stride);
        const Vectors<std::uint16_t> vectors{rows.data, n_heads * rows.stride, rows.stride, rows.scales,
                                             n_heads};
        GR_LAUNCH_CHECK(with_type(w.type, [&](auto tag) {
            launch("gemm", &gemm_kernel<typename decltype(tag)::Type, HalfTile>, grid, grid_of(kTileThreads),
                   0, stream, weights, vectors, out, out_stride);
        }));
    } else {
        const Vectors<float> vectors{x.data, x.stride, x_stride, nullptr, n_heads};
        GR_LAUNCH_CHECK(with_type(w.type, [&](auto tag) {
            launch("gemm", &gemm_kernel<typename decltype(tag)::Type, FloatTile>, grid, grid_of(kTileThreads),
                   0, stream, weights, vectors, out, out_stride);
        }));
    }
}

}  // namespace greenroom::gpu
