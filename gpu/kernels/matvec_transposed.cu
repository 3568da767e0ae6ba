// Matrix transposed · vector, per head:  out[t][h·s + i] = Σ_r w[h][r][i] · x[t][h·s' + r].  MLA's absorbed
// keys: few rows (head_dim) that are several hundred values long.
//
// A block is eight warps for 512 columns of one head, 16 to a lane, and four tokens: warp j takes rows j, j +
// 8, …, and the warps' sums are added in order at the end. Grid: x the columns, y the heads, z the tokens.
// Reads the matrices once per four tokens, in long runs; bound by memory for one token, by decoding for many.
//
// Products and sums are float32, as on the CPU, but in another order: tolerance as for any float32 sum of
// n_in terms (tests/gpu/matvec_test.cpp).

#include "gpu/kernels/matvec.h"

#include "gpu/blocks.cuh"
#include "gpu/device.cuh"
#include "gpu/launch_check.h"

namespace greenroom::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarpSize;
constexpr int kTokens = 4;
constexpr int kColumns = kWarpSize * kGroupValues;
// Sums of a warp in shared memory: value j of every lane, then value j + 1. One more than 32 from j to j + 1,
// so that neither writing by lanes nor reading by columns meets a bank twice.
constexpr int kPitch = kWarpSize + 1;

template <class T>
__global__ void __launch_bounds__(kThreads)
    transposed_kernel(const std::byte* data, std::int64_t row_bytes, std::int64_t matrix_bytes,
                      std::int64_t n_rows, std::int64_t n_out, MatrixView out, std::int64_t out_stride,
                      ConstMatrixView x, std::int64_t x_stride) {
    __shared__ float shared[kWarps * kGroupValues * kPitch];
    const std::int64_t head = blockIdx.y;
    const std::int64_t first_token = std::int64_t{blockIdx.z} * kTokens;
    const std::int64_t group = std::int64_t{blockIdx.x} * kWarpSize + lane_id();
    const bool has_columns = group * kGroupValues < n_out;
    const std::byte* matrix = data + head * matrix_bytes;
    const float* vectors[kTokens];  // beyond the last, the last once more
    GR_UNROLL
    for (int t = 0; t < kTokens; ++t) {
        const std::int64_t token = first_token + t < x.n_rows ? first_token + t : x.n_rows - 1;
        vectors[t] = row_of(x, token) + head * x_stride;
    }
    float sums[kTokens][kGroupValues] = {};
    if (has_columns)
        for (std::int64_t r = warp_id(); r < n_rows; r += kWarps) {
            float values[kGroupValues];
            read_values<T>(matrix + r * row_bytes, n_out, group, values);
            GR_UNROLL
            for (int t = 0; t < kTokens; ++t) {
                const float factor = vectors[t][r];
                GR_UNROLL
                for (int j = 0; j < kGroupValues; ++j) sums[t][j] += factor * values[j];
            }
        }
    const std::int64_t first_column = std::int64_t{blockIdx.x} * kColumns;
    GR_UNROLL
    for (int t = 0; t < kTokens; ++t) {
        if (first_token + t >= x.n_rows) break;  // the whole block
        GR_UNROLL
        for (int j = 0; j < kGroupValues; ++j)
            shared[(warp_id() * kGroupValues + j) * kPitch + lane_id()] = sums[t][j];
        __syncthreads();
        for (int c = static_cast<int>(threadIdx.x); c < kColumns && first_column + c < n_out; c += kThreads) {
            float sum = 0;
            for (int w = 0; w < kWarps; ++w)
                sum += shared[(w * kGroupValues + c % kGroupValues) * kPitch + c / kGroupValues];
            row_of(out, first_token + t)[head * out_stride + first_column + c] = sum;
        }
        __syncthreads();
    }
}

}  // namespace

void matvec_heads_transposed(Stream& stream, MatrixView out, std::int64_t out_stride, const TensorView& w,
                             ConstMatrixView x, std::int64_t x_stride) {
    const std::int64_t n_heads = w.shape[2];
    const std::int64_t n_out = w.row_values();
    const std::int64_t n_rows = w.shape[1];
    GR_LAUNCH_CHECK(x.n_rows == out.n_rows && x.n_cols >= (n_heads - 1) * x_stride + n_rows);
    GR_LAUNCH_CHECK(out.n_cols >= (n_heads - 1) * out_stride + n_out);
    GR_LAUNCH_CHECK(reinterpret_cast<std::uintptr_t>(w.data) % matrix_alignment(w.type) == 0);
    const auto launch_type = [&](auto tag) {
        launch("matvec_heads_transposed", &transposed_kernel<typename decltype(tag)::Type>,
               grid_of(ceil_div<std::int64_t>(n_out, kColumns), n_heads,
                       ceil_div<std::int64_t>(x.n_rows, kTokens)),
               grid_of(kThreads), 0, stream, w.data, w.row_bytes(), w.matrix(1).data - w.data, n_rows, n_out,
               out, out_stride, x, x_stride);
    };
    GR_LAUNCH_CHECK(with_type(w.type, launch_type));
}

}  // namespace greenroom::gpu
