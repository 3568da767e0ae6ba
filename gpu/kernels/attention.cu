// Attention with grouped queries, for a prompt and for single tokens.
//
//   out[t][h] = Σ_s e^score · value[s] / (Σ_s e^score + e^sink),  score = scale · q[t][h] · key[s]
//
// The queries of a kv head are ordered by token, then by head, and cut into tiles of 8, 16 or 32; a block of
// 128 threads takes a tile of one kv head (attention_tile.cuh says how), so that a cached row is read once
// for all heads that share it and for neighbouring tokens. Grid: x tiles, y kv heads, z splits of the
// positions. Where tiles alone occupy the device a block takes all positions and writes the result; else each
// split is a block, and gqa_join_kernel (a block per token and head) joins them. Blocks of splits that no
// query sees end at once: the grid is sized for the most positions that there can be.
//
// Bytes read: keys and values of all visible positions, once per tile; queries once per split. One token is
// bound by VRAM, a prompt by float32 arithmetic (the scores are not rounded to half: the 1e-3 that logits may
// differ by leaves no room for it). Tolerance: 2e-5 of the largest value against cpu/attention.cpp on the
// same cached rows: another order of float32 sums, and e^x of the special-function unit, whose error grows by
// 1.5 · 2^-24 per unit of x while the weight falls with e^x.

#include "gpu/kernels/attention.h"

#include "gpu/device.cuh"
#include "gpu/kernels/attention_splits.cuh"
#include "gpu/launch_check.h"
#include "gpu/step_state.h"

#include <algorithm>

namespace greenroom::gpu {
namespace {

// Tiles that occupy a device by themselves: two blocks for each of 64 multiprocessors.
constexpr std::int64_t kEnoughTiles = 128;

struct Problem {
    MatrixView out;
    ConstMatrixView q;
    KvRows keys;
    KvRows values;
    const StepState* step;
    GqaShape shape;
    const float* sinks;  // or nullptr
};

GR_DEVICE int first_visible(const GqaShape& shape, int position) {
    if (shape.window > 0) {
        const auto window = static_cast<int>(shape.window);
        return position < window ? 0 : position - window + 1;
    }
    const auto chunk = static_cast<int>(shape.chunk);
    return chunk > 0 ? position / chunk * chunk : 0;
}

template <int kQueries, int kChunks, bool kSplit>
__global__ void __launch_bounds__(kTileThreads) gqa_kernel(Problem p, Splits splits) {
    constexpr int kTileQueries = kQueries * kTileRows;
    const GqaShape& shape = p.shape;
    const auto n_tokens = static_cast<int>(p.q.n_rows);
    const int heads_per_kv = shape.n_heads / shape.n_kv_heads;
    const int n_queries = n_tokens * heads_per_kv;
    const auto kv_head = static_cast<int>(blockIdx.y);
    const int first_query = static_cast<int>(blockIdx.x) * kTileQueries;
    const int first_position = p.step->first_position;

    // What the tile sees: later tokens see neither earlier beginnings nor earlier ends.
    const int last_query =
        first_query + kTileQueries < n_queries ? first_query + kTileQueries - 1 : n_queries - 1;
    SeenRows rows{first_visible(shape, first_position + first_query / heads_per_kv),
                  first_position + last_query / heads_per_kv + 1};
    int split = 0;
    if constexpr (kSplit) {
        split = static_cast<int>(blockIdx.z);
        const int begin = (first_visible(shape, first_position) / kSplitPositions + split) * kSplitPositions;
        if (begin >= rows.last || begin + kSplitPositions <= rows.first) return;
        if (begin > rows.first) rows.first = begin;
        if (begin + kSplitPositions < rows.last) rows.last = begin + kSplitPositions;
    }

    const TileMemory memory(kTileQueries, shape.head_dim);
    load_queries<kQueries>(memory, shape.head_dim, [&](int j) {
        const int query = first_query + j;
        const int head = kv_head * heads_per_kv + query % heads_per_kv;
        return query < n_queries ? row_of(p.q, query / heads_per_kv) + head * shape.head_dim : nullptr;
    });
    SeenRows seen[kQueries];
    for (int j = 0; j < kQueries; ++j) {
        const int query = first_query + tile_row() + j * kTileRows;
        const int position = first_position + query / heads_per_kv;
        seen[j] = query < n_queries ? SeenRows{first_visible(shape, position), position + 1} : SeenRows{0, 0};
    }
    TileSums<kQueries, kChunks> sums;
    sums.clear();
    attend(sums, memory, HeadRows{p.keys, kv_head, shape.head_dim, nullptr},
           HeadRows{p.values, kv_head, shape.value_dim, nullptr}, seen, rows, shape.scale);
    sums.finish();
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        const int query = first_query + tile_row() + j * kTileRows;
        if (query >= n_queries) continue;
        const int t = query / heads_per_kv;
        const int head = kv_head * heads_per_kv + query % heads_per_kv;
        if constexpr (kSplit)
            write_split(splits, split, std::int64_t{t} * shape.n_heads + head, sums, j);
        else
            write_result(row_of(p.out, t) + head * shape.value_dim, shape.value_dim, sums, j,
                         p.sinks != nullptr ? p.sinks + head : nullptr);
    }
}

__global__ void __launch_bounds__(kTileThreads) gqa_join_kernel(Problem p, Splits splits) {
    const GqaShape& shape = p.shape;
    const auto head = static_cast<int>(blockIdx.x);
    const auto t = static_cast<int>(blockIdx.y);
    const int first_position = p.step->first_position;
    const int position = first_position + t;
    const int base = first_visible(shape, first_position) / kSplitPositions;
    join_splits(row_of(p.out, t) + head * shape.value_dim, splits,
                first_visible(shape, position) / kSplitPositions - base,
                position / kSplitPositions - base + 1, std::int64_t{t} * shape.n_heads + head,
                p.sinks != nullptr ? p.sinks + head : nullptr);
}

std::int64_t queries_per_kv_head(const GqaShape& shape, std::int64_t n_tokens) noexcept {
    return n_tokens * (shape.n_heads / shape.n_kv_heads);
}

// Of a thread: 1, 2 or 4; a tile has eight times as many.
int queries_per_thread(std::int64_t n_queries) noexcept {
    return n_queries <= 8 ? 1 : n_queries <= 16 ? 2 : 4;
}

std::int64_t count_tiles(const GqaShape& shape, std::int64_t n_tokens) noexcept {
    const std::int64_t n_queries = queries_per_kv_head(shape, n_tokens);
    return ceil_div<std::int64_t>(n_queries, queries_per_thread(n_queries) * kTileRows);
}

// How many splits there can be; 1 where there are enough tiles.
std::int64_t count_splits_of(const GqaShape& shape, std::int64_t n_tokens,
                             std::int64_t max_positions) noexcept {
    if (count_tiles(shape, n_tokens) * shape.n_kv_heads >= kEnoughTiles) return 1;
    const std::int64_t reach = std::max(shape.window, shape.chunk);
    return count_splits(reach > 0 ? std::min(reach + n_tokens - 1, max_positions) : max_positions,
                        max_positions);
}

template <int kQueries, int kChunks>
void launch_gqa(Stream& stream, const Problem& p, float* scratch, std::int64_t n_tiles,
                std::int64_t n_splits) {
    const Splits splits(scratch, n_splits, p.q.n_rows * p.shape.n_heads, p.shape.value_dim);
    const dim3 grid = grid_of(n_tiles, p.shape.n_kv_heads, n_splits);
    const std::size_t shared_bytes = tile_shared_bytes(kQueries, p.shape.head_dim);
    if (n_splits == 1) {
        launch("gqa", gqa_kernel<kQueries, kChunks, false>, grid, grid_of(kTileThreads), shared_bytes, stream,
               p, splits);
        return;
    }
    launch("gqa_split", gqa_kernel<kQueries, kChunks, true>, grid, grid_of(kTileThreads), shared_bytes,
           stream, p, splits);
    launch("gqa_join", gqa_join_kernel, grid_of(p.shape.n_heads, p.q.n_rows), grid_of(kTileThreads), 0,
           stream, p, splits);
}

template <int kQueries>
void launch_gqa(Stream& stream, const Problem& p, float* scratch, std::int64_t n_tiles,
                std::int64_t n_splits) {
    if (p.shape.value_dim <= kChunkValues)
        launch_gqa<kQueries, 1>(stream, p, scratch, n_tiles, n_splits);
    else if (p.shape.value_dim <= 2 * kChunkValues)
        launch_gqa<kQueries, 2>(stream, p, scratch, n_tiles, n_splits);
    else
        launch_gqa<kQueries, 4>(stream, p, scratch, n_tiles, n_splits);
}

}  // namespace

std::int64_t gqa_scratch_floats(const GqaShape& shape, std::int64_t n_tokens,
                                std::int64_t max_positions) noexcept {
    // Fewer tokens may be split where more are not.
    std::int64_t most = 0;
    for (std::int64_t n = 1; n <= n_tokens; ++n) {
        const std::int64_t n_splits = count_splits_of(shape, n, max_positions);
        if (n_splits == 1) continue;
        most = std::max(most, split_floats(n_splits, n * shape.n_heads, shape.value_dim));
    }
    return most;
}

void gqa_attention(Stream& stream, MatrixView out, ConstMatrixView q, const KvRows& keys,
                   const KvRows& values, const StepState* step, std::int64_t max_positions,
                   const GqaShape& shape, std::span<const float> sinks, std::span<float> scratch) {
    GR_LAUNCH_CHECK(q.n_cols == std::int64_t{shape.n_heads} * shape.head_dim);
    GR_LAUNCH_CHECK(out.n_cols == std::int64_t{shape.n_heads} * shape.value_dim && out.n_rows == q.n_rows);
    GR_LAUNCH_CHECK(shape.head_dim <= kMaxHeadDim && shape.value_dim <= kMaxHeadDim);
    GR_LAUNCH_CHECK(keys.n_values == shape.head_dim && keys.n_heads == shape.n_kv_heads);
    GR_LAUNCH_CHECK(values.n_values == shape.value_dim && values.n_heads == shape.n_kv_heads);
    GR_LAUNCH_CHECK(is_kv_type(keys.type) && is_kv_type(values.type));
    GR_LAUNCH_CHECK(sinks.empty() || static_cast<int>(sinks.size()) == shape.n_heads);
    if (q.n_rows == 0) return;
    const Problem p{out, q, keys, values, step, shape, sinks.empty() ? nullptr : sinks.data()};
    const std::int64_t n_queries = queries_per_kv_head(shape, q.n_rows);
    const std::int64_t n_tiles = count_tiles(shape, q.n_rows);
    const std::int64_t n_splits = count_splits_of(shape, q.n_rows, max_positions);
    GR_LAUNCH_CHECK(n_splits == 1 || static_cast<std::int64_t>(scratch.size()) >=
                                         split_floats(n_splits, q.n_rows * shape.n_heads, shape.value_dim));
    switch (queries_per_thread(n_queries)) {
        case 1:
            return launch_gqa<1>(stream, p, scratch.data(), n_tiles, n_splits);
        case 2:
            return launch_gqa<2>(stream, p, scratch.data(), n_tiles, n_splits);
        default:
            return launch_gqa<4>(stream, p, scratch.data(), n_tiles, n_splits);
    }
}

}  // namespace greenroom::gpu
