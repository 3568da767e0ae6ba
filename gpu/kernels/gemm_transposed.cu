// Matrix transposed · many vectors, per head:  out[t][h·s + i] = Σ_r w[h][r][i] · x[t][h·s' + r].
//
// As gemm.cu, with tiles of 64 columns of a matrix: a thread decodes 32 neighbours of one row, which the
// tensor cores take as they lie. Grid: x the columns, y the tokens, z the heads. Tolerance as for gemm().

#include "gpu/kernels/gemm.h"

#include "gpu/blocks.cuh"
#include "gpu/device.cuh"
#include "gpu/kernels/half_rows.h"
#include "gpu/kernels/tile_product.cuh"
#include "gpu/launch_check.h"

namespace greenroom::gpu {
namespace {

template <class T>
__global__ void __launch_bounds__(kTileThreads)
    gemm_transposed_kernel(const std::byte* data, std::int64_t row_bytes, std::int64_t matrix_bytes,
                           std::int64_t n_rows, std::int64_t n_columns, HalfRows x, MatrixView out,
                           std::int64_t out_head_stride) {
    __shared__ TileMemory memory;
    const std::int64_t head = blockIdx.z;
    const std::int64_t n_heads = gridDim.z;
    const std::int64_t first_column = std::int64_t{blockIdx.x} * kTileRows;
    const std::int64_t first_token = std::int64_t{blockIdx.y} * kTileVectors;
    const std::int64_t token = first_token + threadIdx.x / 2;
    const ColumnLines<T> lines{data + head * matrix_bytes, row_bytes, n_rows, n_columns, first_column};
    half_tile_product(memory, lines,
                      token < out.n_rows ? x.data + (token * n_heads + head) * x.stride : nullptr, n_rows);
    for (int i = static_cast<int>(threadIdx.x); i < kTileRows * kTileVectors; i += kTileThreads) {
        const std::int64_t c = first_column + i % kTileRows;
        const std::int64_t t = first_token + i / kTileRows;
        if (c < n_columns && t < out.n_rows)
            row_of(out, t)[head * out_head_stride + c] =
                x.scales[t * n_heads + head] * memory.results[i / kTileRows][i % kTileRows];
    }
}

}  // namespace

void gemm_heads_transposed(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                           ConstMatrixView x, std::int64_t x_stride, std::span<std::byte> scratch) {
    const std::int64_t n_heads = w.shape[2];
    const std::int64_t n_out = w.row_values();
    const std::int64_t n_in = w.shape[1];
    GR_LAUNCH_CHECK(x.n_rows == out.n_rows && x.n_cols >= (n_heads - 1) * x_stride + n_in);
    GR_LAUNCH_CHECK(out.n_cols >= (n_heads - 1) * out_stride + n_out);
    GR_LAUNCH_CHECK(reinterpret_cast<std::uintptr_t>(w.data) % matrix_alignment(w.type) == 0);
    GR_LAUNCH_CHECK(static_cast<std::int64_t>(scratch.size()) >= half_rows_bytes(x.n_rows * n_heads, n_in));
    const HalfRows rows = half_rows_in(scratch.data(), x.n_rows * n_heads, n_in);
    convert_rows(stream, rows, x, n_heads, n_in, x_stride);
    GR_LAUNCH_CHECK(with_type(w.type, [&](auto tag) {
        launch("gemm_heads_transposed", &gemm_transposed_kernel<typename decltype(tag)::Type>,
               grid_of(ceil_div<std::int64_t>(n_out, kTileRows),
                       ceil_div<std::int64_t>(x.n_rows, kTileVectors), n_heads),
               grid_of(kTileThreads), 0, stream, w.data, w.row_bytes(), w.matrix(1).data - w.data, n_in,
               n_out, rows, out, out_stride);
    }));
}

}  // namespace greenroom::gpu
