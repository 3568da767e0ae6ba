// Multi-head latent attention, absorbed (DeepSeek-V2, arXiv:2405.04434, section 2.1).
//
//   out[t][h] = Σ_s softmax_s(scale · q[t][h] · cache[s]) · cache[s][:latent_dim]
//
// All heads of all tokens read the same rows, so the tile of queries is 16 of them in the order of tokens,
// then heads (attention_tile.cuh has the work of a block of 128 threads); where each token has a list of the
// rows that it is to see, a tile belongs to one token. Grid: x tiles, z splits of the positions or of the
// list; where the tiles alone occupy the device there is one split, which writes the result. Else
// mla_join_kernel, a block per token and head, joins them.
//
// Bytes read: the rows once per tile, twice with the second reading from the L2 cache (a chunk as a key, then
// again as a value: 32 rows of 576 floats are 72 KB, more than shared memory holds beside the queries). One
// token with 16 heads is bound by VRAM; with 128 heads, 8 tiles share a row and float32 arithmetic (1088
// products per head and row) is the bound. Tolerance: as in attention.cu.

#include "gpu/kernels/mla.h"

#include "gpu/device.cuh"
#include "gpu/kernels/attention_splits.cuh"
#include "gpu/launch_check.h"
#include "gpu/step_state.h"

#include <algorithm>

namespace greenroom::gpu {
namespace {

constexpr int kQueries = 2;  // of a thread
constexpr int kTileQueries = kQueries * kTileRows;
// Tiles that occupy a device by themselves: two blocks for each of 64 multiprocessors.
constexpr std::int64_t kEnoughTiles = 128;

struct Problem {
    MatrixView out;
    ConstMatrixView q;
    KvRows cache;
    const StepState* step;
    MlaShape shape;
    const std::int32_t* visible;  // or nullptr
    int n_visible;
};

// How many rows the token sees: all positions up to its own, or those before the first -1 of its list.
GR_DEVICE int count_seen(const Problem& p, int t) {
    if (p.visible == nullptr) return p.step->first_position + t + 1;
    const std::int32_t* listed = p.visible + std::int64_t{t} * p.n_visible;
    int first = 0;
    int last = p.n_visible;
    while (first < last) {
        const int middle = first + (last - first) / 2;
        if (listed[middle] >= 0)
            first = middle + 1;
        else
            last = middle;
    }
    return first;
}

template <int kChunks, bool kSplit>
__global__ void __launch_bounds__(kTileThreads) mla_kernel(Problem p, Splits splits) {
    const MlaShape& shape = p.shape;
    const int row_dim = shape.latent_dim + shape.rope_dim;
    const int n_heads = shape.n_heads;
    // The queries of the tile are [first_query, end).
    int first_query = static_cast<int>(blockIdx.x) * kTileQueries;
    int end = static_cast<int>(p.q.n_rows) * n_heads;
    if (p.visible != nullptr) {
        const int tiles_per_token = ceil_div(n_heads, kTileQueries);
        const int t = static_cast<int>(blockIdx.x) / tiles_per_token;
        first_query = t * n_heads + static_cast<int>(blockIdx.x) % tiles_per_token * kTileQueries;
        end = (t + 1) * n_heads;
    }
    if (end > first_query + kTileQueries) end = first_query + kTileQueries;

    const std::int32_t* listed =
        p.visible != nullptr ? p.visible + std::int64_t{first_query / n_heads} * p.n_visible : nullptr;
    SeenRows rows{0, count_seen(p, (end - 1) / n_heads)};
    int split = 0;
    if constexpr (kSplit) {
        split = static_cast<int>(blockIdx.z);
        const int begin = split * kSplitPositions;
        if (begin >= rows.last) return;
        rows.first = begin;
        if (begin + kSplitPositions < rows.last) rows.last = begin + kSplitPositions;
    }

    const TileMemory memory(kTileQueries, row_dim);
    load_queries<kQueries>(memory, row_dim, [&](int j) {
        const int query = first_query + j;
        return query < end ? row_of(p.q, query / n_heads) + query % n_heads * row_dim : nullptr;
    });
    SeenRows seen[kQueries];
    for (int j = 0; j < kQueries; ++j) {
        const int query = first_query + tile_row() + j * kTileRows;
        seen[j] = {0, query < end ? count_seen(p, query / n_heads) : 0};
    }
    TileSums<kQueries, kChunks> sums;
    sums.clear();
    attend(sums, memory, HeadRows{p.cache, 0, row_dim, listed},
           HeadRows{p.cache, 0, shape.latent_dim, listed}, seen, rows, shape.scale);
    sums.finish();
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        const int query = first_query + tile_row() + j * kTileRows;
        if (query >= end) continue;
        if constexpr (kSplit)
            write_split(splits, split, query, sums, j);
        else
            write_result(row_of(p.out, query / n_heads) + query % n_heads * shape.latent_dim,
                         shape.latent_dim, sums, j, nullptr);
    }
}

__global__ void __launch_bounds__(kTileThreads) mla_join_kernel(Problem p, Splits splits) {
    const auto head = static_cast<int>(blockIdx.x);
    const auto t = static_cast<int>(blockIdx.y);
    join_splits(row_of(p.out, t) + head * p.shape.latent_dim, splits, 0,
                ceil_div(count_seen(p, t), kSplitPositions), std::int64_t{t} * p.shape.n_heads + head,
                nullptr);
}

std::int64_t count_splits_of(const MlaShape& shape, std::int64_t n_tokens, std::int64_t max_rows) noexcept {
    if (n_tokens * shape.n_heads >= kEnoughTiles * kTileQueries) return 1;
    return std::max<std::int64_t>(1, ceil_div<std::int64_t>(max_rows, kSplitPositions));
}

template <int kChunks>
void launch_mla(Stream& stream, const Problem& p, float* scratch, std::int64_t n_tiles,
                std::int64_t n_splits) {
    const MlaShape& shape = p.shape;
    const Splits splits(scratch, n_splits, p.q.n_rows * shape.n_heads, shape.latent_dim);
    const dim3 grid = grid_of(n_tiles, 1, n_splits);
    const std::size_t shared_bytes = tile_shared_bytes(kQueries, shape.row_dim());
    if (n_splits == 1) {
        launch("mla", mla_kernel<kChunks, false>, grid, grid_of(kTileThreads), shared_bytes, stream, p,
               splits);
        return;
    }
    launch("mla_split", mla_kernel<kChunks, true>, grid, grid_of(kTileThreads), shared_bytes, stream, p,
           splits);
    launch("mla_join", mla_join_kernel, grid_of(shape.n_heads, p.q.n_rows), grid_of(kTileThreads), 0, stream,
           p, splits);
}

}  // namespace

std::int64_t mla_scratch_floats(const MlaShape& shape, std::int64_t n_tokens,
                                std::int64_t max_positions) noexcept {
    // Fewer tokens may be split where more are not.
    const std::int64_t split_tokens = ceil_div<std::int64_t>(kEnoughTiles * kTileQueries, shape.n_heads) - 1;
    const std::int64_t n = std::min(n_tokens, split_tokens);
    return split_floats(count_splits_of(shape, n, max_positions), n * shape.n_heads, shape.latent_dim);
}

void mla_attention(Stream& stream, MatrixView out, ConstMatrixView q, const KvRows& cache,
                   const StepState* step, std::int64_t max_positions, const MlaShape& shape,
                   std::span<const std::int32_t> visible, std::int64_t n_visible, std::span<float> scratch) {
    const std::int64_t n_heads = shape.n_heads;
    const std::int64_t n_tokens = q.n_rows;
    GR_LAUNCH_CHECK(q.n_cols == n_heads * shape.row_dim());
    GR_LAUNCH_CHECK(out.n_cols == n_heads * shape.latent_dim && out.n_rows == n_tokens);
    GR_LAUNCH_CHECK(shape.latent_dim <= kMaxLatentDim && shape.row_dim() <= kMaxLatentRowDim);
    GR_LAUNCH_CHECK(cache.n_values == shape.row_dim() && is_kv_type(cache.type));
    GR_LAUNCH_CHECK(static_cast<std::int64_t>(visible.size()) == n_visible * n_tokens);
    if (n_tokens == 0) return;
    const bool listed = !visible.empty();
    const Problem p{
        out, q, cache, step, shape, listed ? visible.data() : nullptr, static_cast<int>(n_visible)};
    const std::int64_t n_tiles = listed ? n_tokens * ceil_div<std::int64_t>(n_heads, kTileQueries)
                                        : ceil_div<std::int64_t>(n_tokens * n_heads, kTileQueries);
    const std::int64_t n_splits = count_splits_of(shape, n_tokens, listed ? n_visible : max_positions);
    GR_LAUNCH_CHECK(n_splits == 1 || static_cast<std::int64_t>(scratch.size()) >=
                                         split_floats(n_splits, n_tokens * n_heads, shape.latent_dim));
    if (shape.latent_dim <= 2 * kChunkValues)
        launch_mla<2>(stream, p, scratch.data(), n_tiles, n_splits);
    else
        launch_mla<8>(stream, p, scratch.data(), n_tiles, n_splits);
}

}  // namespace greenroom::gpu
