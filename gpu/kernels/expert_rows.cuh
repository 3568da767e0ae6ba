#pragma once

// Experts with few calls: dot products of rows with the vectors of up to eight calls.
//
// A block is four warps; a team of lanes (dot_rows.cuh) has two rows of an expert: row r of gate and of up,
// or two neighbours of one matrix. It goes through the expert's calls, eight at a time, and leaves out what a
// smaller number does not need. Grid: x the rows, y the groups of hits, of which those beyond the last end at
// once. So weights are read from memory once, a second time only, then from the L2 cache, for a ninth call.

#include "gpu/device.cuh"
#include "gpu/kernels/dot_rows.cuh"
#include "gpu/kernels/expert_product.cuh"

namespace greenroom::gpu {

constexpr int kExpertThreads = 128;

// Calls calls[0 … n) for n <= kVectors, of a team's two rows. Vectors beyond the last are the last once more.
template <class Dot, int kVectors>
GR_DEVICE void expert_calls(const ExpertProduct& p, const std::byte* const (&rows)[2],
                            const typename Dot::Vectors& x, const std::int32_t* calls, int n,
                            std::int64_t expert, std::int64_t first_row, int n_lanes) {
    typename Dot::Vector vectors[kVectors];
    GR_UNROLL
    for (int v = 0; v < kVectors; ++v)
        vectors[v] = x.vector(calls[v < n ? v : n - 1] / p.calls_per_vector, 0);
    float sums[2][kVectors];
    dot_rows<Dot, 2, kVectors>(rows, vectors, p.n_values, n_lanes, sums);
    if (lane_id() % n_lanes != 0) return;
    GR_UNROLL
    for (int v = 0; v < kVectors; ++v) {
        if (v >= n || first_row >= p.n_rows) continue;
        if (p.result == ExpertProduct::Result::joined) {
            put_result(p, expert, calls[v], first_row, sums[0][v], sums[1][v]);
        } else {
            put_result(p, expert, calls[v], first_row, sums[0][v], sums[0][v]);
            if (first_row + 1 < p.n_rows)
                put_result(p, expert, calls[v], first_row + 1, sums[1][v], sums[1][v]);
        }
    }
}

template <class Dot, int kMost>
__global__ void __launch_bounds__(kExpertThreads)
    expert_rows_kernel(ExpertProduct p, HitGroups hits, typename Dot::Vectors x, int n_lanes) {
    constexpr int kWarps = kExpertThreads / kWarpSize;
    const auto group = static_cast<int>(blockIdx.y);
    if (group >= *hits.n_groups) return;
    const std::byte* slot = hits.slots[group];
    const std::int64_t expert = hits.experts[group];
    const int end = hits.first[group + 1];
    const std::int64_t team =
        (std::int64_t{blockIdx.x} * kWarps + warp_id()) * (kWarpSize / n_lanes) + lane_id() / n_lanes;
    const bool joined = p.result == ExpertProduct::Result::joined;
    const std::int64_t first_row = joined ? team : 2 * team;
    const std::int64_t second_row = joined ? team : 2 * team + 1;
    // Rows beyond the last are the last once more, and not written.
    const std::int64_t last = p.n_rows - 1;
    const std::byte* rows[2] = {slot + p.first_offset + (first_row < last ? first_row : last) * p.row_bytes,
                                slot + (joined ? p.second_offset : p.first_offset) +
                                    (second_row < last ? second_row : last) * p.row_bytes};
    for (int at = hits.first[group]; at < end; at += kMost) {
        const std::int32_t* calls = hits.calls + at;
        const int n = end - at < kMost ? end - at : kMost;
        if constexpr (kMost == 1) {
            expert_calls<Dot, 1>(p, rows, x, calls, n, expert, first_row, n_lanes);
        } else {
            if (n == 1)
                expert_calls<Dot, 1>(p, rows, x, calls, n, expert, first_row, n_lanes);
            else if (n == 2)
                expert_calls<Dot, 2>(p, rows, x, calls, n, expert, first_row, n_lanes);
            else if (n <= 4 || kMost == 4)
                expert_calls<Dot, 4>(p, rows, x, calls, n, expert, first_row, n_lanes);
            else
                expert_calls<Dot, kMost>(p, rows, x, calls, n, expert, first_row, n_lanes);
        }
    }
}

template <class Dot, int kMost>
void launch_expert_rows(Stream& stream, const ExpertLaunch& l, const typename Dot::Vectors& x) {
    constexpr std::int64_t kWarps = kExpertThreads / kWarpSize;
    const int n_lanes = lanes_per_row(ceil_div<std::int64_t>(l.product.n_values, Dot::kPieceValues));
    const std::int64_t teams = kWarps * (kWarpSize / n_lanes);
    const std::int64_t rows_per_team = l.product.result == ExpertProduct::Result::joined ? 1 : 2;
    const dim3 grid = grid_of(ceil_div(l.product.n_rows, teams * rows_per_team), l.n_groups);
    if (l.calls_per_group == 1)
        launch("experts", &expert_rows_kernel<Dot, 1>, grid, grid_of(kExpertThreads), 0, stream, l.product,
               l.hits, x, n_lanes);
    else
        launch("experts", &expert_rows_kernel<Dot, kMost>, grid, grid_of(kExpertThreads), 0, stream,
               l.product, l.hits, x, n_lanes);
}

}  // namespace greenroom::gpu
