// Experts with many calls: tiles of 64 rows and 64 calls (tile_product.cuh).
//
// A block has 64 rows of an expert, or where gate and up are joined 32 rows of each, one above the other, so
// that both halves of a result come out of one tile. It goes through every z-th tile of the expert's calls.
// Grid: x the rows, y the groups of hits, z up to four blocks for the calls of one; what is beyond the last
// ends at once. Reads an expert once per 64 calls. Bound as gemm.cu is; a tile that is not full wastes the
// rest.

#include "gpu/kernels/expert_product.cuh"
#include "gpu/kernels/tile_product.cuh"

#include <algorithm>

namespace greenroom::gpu {
namespace {

constexpr std::int64_t kMaxBlocksPerGroup = 4;
constexpr int kHalfRows = kTileRows / 2;

// Vector v is at data + v · stride; its scale is scales[v], or 1.
template <class Value>
struct Vectors {
    const Value* data;
    std::int64_t stride;
    const float* scales;
};

template <class T, class Tile>
__global__ void __launch_bounds__(kTileThreads)
    expert_tiles_kernel(ExpertProduct p, HitGroups hits, Vectors<typename Tile::Value> x) {
    __shared__ TileMemory memory;
    const auto group = static_cast<int>(blockIdx.y);
    if (group >= *hits.n_groups) return;
    const bool joined = p.result == ExpertProduct::Result::joined;
    const int rows = joined ? kHalfRows : kTileRows;
    const std::int64_t first_row = std::int64_t{blockIdx.x} * rows;
    const int mine = static_cast<int>(threadIdx.x) / 2;
    const std::int64_t my_row = first_row + mine % rows;
    const std::byte* row = nullptr;
    if (my_row < p.n_rows)
        row = hits.slots[group] + (mine < rows ? p.first_offset : p.second_offset) + my_row * p.row_bytes;
    const std::int64_t expert = hits.experts[group];
    const int end = hits.first[group + 1];
    for (int at = hits.first[group] + static_cast<int>(blockIdx.z) * kTileVectors; at < end;
         at += static_cast<int>(gridDim.z) * kTileVectors) {
        const typename Tile::Value* vector = nullptr;
        if (at + mine < end) vector = x.data + hits.calls[at + mine] / p.calls_per_vector * x.stride;
        tile_product<T>(Tile{}, memory, row, vector, p.n_values);
        for (int i = static_cast<int>(threadIdx.x); i < rows * kTileVectors; i += kTileThreads) {
            const int r = i % rows;
            const int v = i / rows;
            if (first_row + r >= p.n_rows || at + v >= end) continue;
            const std::int64_t call = hits.calls[at + v];
            const float scale = x.scales == nullptr ? 1.0F : x.scales[call / p.calls_per_vector];
            const float first = scale * memory.results[v][r];
            const float second = joined ? scale * memory.results[v][kHalfRows + r] : first;
            put_result(p, expert, call, first_row + r, first, second);
        }
    }
}

template <class Tile>
bool launch_tiles(Stream& stream, const ExpertLaunch& l, const Vectors<typename Tile::Value>& x) {
    const std::int64_t rows = l.product.result == ExpertProduct::Result::joined ? kHalfRows : kTileRows;
    const std::int64_t blocks =
        std::min(kMaxBlocksPerGroup, ceil_div<std::int64_t>(l.calls_per_group, kTileVectors));
    const dim3 grid = grid_of(ceil_div(l.product.n_rows, rows), l.n_groups, blocks);
    return with_type(l.type, [&](auto tag) {
        launch("expert_tiles", &expert_tiles_kernel<typename decltype(tag)::Type, Tile>, grid,
               grid_of(kTileThreads), 0, stream, l.product, l.hits, x);
    });
}

}  // namespace

bool launch_expert_tiles_half(Stream& stream, const ExpertLaunch& l) {
    return launch_tiles<HalfTile>(stream, l, {l.halves.data, l.halves.stride, l.halves.scales});
}

bool launch_expert_tiles_float(Stream& stream, const ExpertLaunch& l) {
    return launch_tiles<FloatTile>(stream, l, {l.floats.data, l.floats.stride, nullptr});
}

}  // namespace greenroom::gpu
