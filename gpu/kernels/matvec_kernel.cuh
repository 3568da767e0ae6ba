#pragma once

// The kernel of matvec.cu, which says what it does, and its launch. The two kinds of products are compiled in
// files of their own, because a kernel per type and number of vectors takes its time.

#include "gpu/device.cuh"
#include "gpu/kernels/dot_rows.cuh"
#include "quant/base/tensor_view.h"

#include <algorithm>

namespace greenroom::gpu {

struct MatvecArguments {
    TensorView w;  // a stack of n_heads matrices
    MatrixView out;
    std::int64_t out_head_stride = 0;
    std::int64_t n_heads = 1;
    ActivationRows integers;  // for launch_matvec_integer()
    ConstMatrixView x;        // for launch_matvec_float()
    std::int64_t x_head_stride = 0;
};

// False for a type that cannot be multiplied this way.
bool launch_matvec_integer(Stream& stream, const MatvecArguments& arguments);
bool launch_matvec_float(Stream& stream, const MatvecArguments& arguments);

constexpr int kMatvecThreads = 128;
constexpr int kMatvecRows = 2;  // per team of lanes

struct MatrixStack {
    const std::byte* data;
    std::int64_t row_bytes;
    std::int64_t matrix_bytes;  // from head to head
    std::int64_t n_rows;
    std::int64_t n_values;
};

template <class Dot, int kVectors>
__global__ void __launch_bounds__(kMatvecThreads)
    matvec_kernel(MatrixStack w, typename Dot::Vectors x, MatrixView out, std::int64_t out_head_stride,
                  int n_vectors, int n_lanes) {
    constexpr int kWarps = kMatvecThreads / kWarpSize;
    const std::int64_t head = blockIdx.y;
    const std::int64_t team =
        (std::int64_t{blockIdx.x} * kWarps + warp_id()) * (kWarpSize / n_lanes) + lane_id() / n_lanes;
    const std::int64_t first = team * kMatvecRows;
    // Rows and vectors beyond the last are the last once more, and not written.
    const std::byte* rows[kMatvecRows];
    GR_UNROLL
    for (int r = 0; r < kMatvecRows; ++r) {
        const std::int64_t row = first + r < w.n_rows ? first + r : w.n_rows - 1;
        rows[r] = w.data + head * w.matrix_bytes + row * w.row_bytes;
    }
    typename Dot::Vector vectors[kVectors];
    GR_UNROLL
    for (int v = 0; v < kVectors; ++v) vectors[v] = x.vector(v < n_vectors ? v : n_vectors - 1, head);
    float sums[kMatvecRows][kVectors];
    dot_rows<Dot, kMatvecRows, kVectors>(rows, vectors, w.n_values, n_lanes, sums);
    if (lane_id() % n_lanes != 0) return;
    GR_UNROLL
    for (int v = 0; v < kVectors; ++v) {
        GR_UNROLL
        for (int r = 0; r < kMatvecRows; ++r)
            if (v < n_vectors && first + r < w.n_rows)
                row_of(out, v)[head * out_head_stride + first + r] = sums[r][v];
    }
}

// One launch: the vectors are those of the rows of `out`.
template <class Dot, int kVectors>
void launch_matvec_kernel(Stream& stream, const MatvecArguments& a, const typename Dot::Vectors& x,
                          MatrixView out) {
    constexpr std::int64_t kWarps = kMatvecThreads / kWarpSize;
    const MatrixStack w{a.w.data, a.w.row_bytes(), a.w.matrix(1).data - a.w.data, a.w.shape[1],
                        a.w.row_values()};
    const int n_lanes = lanes_per_row(ceil_div<std::int64_t>(w.n_values, Dot::kPieceValues));
    const std::int64_t rows_per_block = kWarps * (kWarpSize / n_lanes) * kMatvecRows;
    launch("matvec", &matvec_kernel<Dot, kVectors>, grid_of(ceil_div(w.n_rows, rows_per_block), a.n_heads),
           grid_of(kMatvecThreads), 0, stream, w, x, out, a.out_head_stride, static_cast<int>(out.n_rows),
           n_lanes);
}

// As many launches as it takes with up to kMost vectors each. vectors_from(t): those of the rows from t on.
template <class Dot, int kMost, class VectorsFrom>
void launch_matvec(Stream& stream, const MatvecArguments& a, VectorsFrom vectors_from) {
    for (std::int64_t first = 0; first < a.out.n_rows; first += kMost) {
        const std::int64_t n = std::min<std::int64_t>(kMost, a.out.n_rows - first);
        const MatrixView out{a.out.data + first * a.out.stride, n, a.out.n_cols, a.out.stride};
        const typename Dot::Vectors x = vectors_from(first);
        if (n == 1)
            launch_matvec_kernel<Dot, 1>(stream, a, x, out);
        else if (n == 2)
            launch_matvec_kernel<Dot, 2>(stream, a, x, out);
        else if (n <= 4)
            launch_matvec_kernel<Dot, 4>(stream, a, x, out);
        else if constexpr (kMost > 4)
            launch_matvec_kernel<Dot, kMost>(stream, a, x, out);
    }
}

}  // namespace greenroom::gpu
