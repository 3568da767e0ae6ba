// Rows of the embedding table, decoded:  out[t][i] = table[ids[t]][i].
//
// Grid: x the tokens; y covers a row in pieces of 64 groups of 16 values, a thread each. Reads a row of
// blocks and writes 4 bytes per value: a few KB in a decode step, bound by the launch. Tolerance: none, the
// values are those of quant/decode.

#include "gpu/kernels/embed.h"

#include "gpu/blocks.cuh"
#include "gpu/device.cuh"
#include "gpu/launch_check.h"

namespace greenroom::gpu {
namespace {

constexpr int kThreads = 64;

template <class T>
__global__ void __launch_bounds__(kThreads)
    embed_kernel(MatrixView out, const std::byte* table, std::int64_t row_bytes, const std::int32_t* ids) {
    const std::int64_t t = blockIdx.x;
    const std::int64_t group = std::int64_t{blockIdx.y} * kThreads + threadIdx.x;
    if (group * kGroupValues >= out.n_cols) return;
    float values[kGroupValues];
    read_values<T>(table + ids[t] * row_bytes, out.n_cols, group, values);
    float* to = row_of(out, t) + group * kGroupValues;
    GR_UNROLL
    for (int j = 0; j < kGroupValues; ++j)
        if (group * kGroupValues + j < out.n_cols) to[j] = values[j];
}

}  // namespace

void embed(Stream& stream, MatrixView out, const TensorView& table, std::span<const std::int32_t> ids) {
    GR_LAUNCH_CHECK(out.n_cols == table.row_values());
    GR_LAUNCH_CHECK(out.n_rows == static_cast<std::int64_t>(ids.size()));
    const auto launch_type = [&](auto tag) {
        const std::int64_t groups = ceil_div<std::int64_t>(out.n_cols, kGroupValues);
        launch("embed", &embed_kernel<typename decltype(tag)::Type>,
               grid_of(out.n_rows, ceil_div<std::int64_t>(groups, kThreads)), grid_of(kThreads), 0, stream,
               out, table.data, table.row_bytes(), ids.data());
    };
    GR_LAUNCH_CHECK(with_type(table.type, launch_type));
}

}  // namespace greenroom::gpu
