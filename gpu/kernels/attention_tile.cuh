#pragma once

// The heart of attention on the GPU, shared by grouped queries (attention.cu) and latent attention (mla.cu):
// a block of threads takes a tile of queries through a range of cached rows, in one pass (Dao et al. 2022,
// arXiv:2205.14135), in float32.
//
// 128 threads stand in 8 rows of 16. The thread in row y and column x works on queries y, y + 8, … of the
// tile (kQueries of them), in a step of 32 positions on the scores of positions x and x + 16, and of each
// chunk of 64 result columns on the four from 4·x on. So the maximum of a query's scores is found by shuffles
// in half a warp, and results never leave their registers. Queries lie in shared memory; of the cached rows a
// chunk of 32 positions × 64 values is decoded into it at a time, used by all queries, and overwritten by the
// next.
//
// For four columns of keys a thread reads kQueries + 2 times 16 bytes of shared memory and forms 8·kQueries
// products, for four positions of values kQueries + 4 times and 16·kQueries: 32 queries are bound by
// arithmetic, 8 by shared memory, about as fast as the cached rows come from VRAM. (Counted, not measured.)

#include "gpu/device.cuh"
#include "gpu/kernels/kv_values.cuh"

#include <cfloat>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace greenroom::gpu {

inline constexpr int kTileThreads = 128;
inline constexpr int kTileRows = 8;
inline constexpr int kTileColumns = 16;
inline constexpr int kStepPositions = 32;
inline constexpr int kChunkValues = 64;
// A row of a chunk in shared memory, and a row of weights: apart by four banks more than a whole number of
// rounds, so that 8 lanes that read 16 bytes each of 8 rows meet 32 different banks.
inline constexpr int kChunkStride = kChunkValues + 4;
inline constexpr int kWeightStride = kStepPositions + 4;

GR_HD constexpr int query_stride(int key_dim) { return ceil_div(key_dim, 4) * 4 + 4; }

// Shared memory of a block, for kQueries · 8 queries.
constexpr std::size_t tile_shared_bytes(int queries_per_thread, int key_dim) {
    const int n_queries = queries_per_thread * kTileRows;
    return sizeof(float) * static_cast<std::size_t>(n_queries * (query_stride(key_dim) + kWeightStride) +
                                                    kStepPositions * kChunkStride);
}

// The cached rows of a head, of each the first n_values. Row i is that of position i, or of listed[i].
struct HeadRows {
    KvRows rows;
    int head;
    int n_values;
    const std::int32_t* listed;
};

// The rows that a query sees, [first, last) of those that are offered; none: a query that is not there.
struct SeenRows {
    int first;
    int last;

    GR_HD bool contains(int i) const { return first <= i && i < last; }
};

// A thread's share of Σ e^(score − maximum) · value and Σ e^(score − maximum).
template <int kQueries, int kChunks>
struct TileSums {
    float maximums[kQueries];
    float sums[kQueries];  // over this thread's positions until finish()
    float results[kQueries][kChunks][4];

    // Of no rows at all. The lowest number instead of −∞, of which differences are no numbers.
    GR_DEVICE void clear() {
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j) {
            maximums[j] = -FLT_MAX;
            sums[j] = 0.0F;
            GR_UNROLL
            for (int c = 0; c < kChunks; ++c)
                for (int i = 0; i < 4; ++i) results[j][c][i] = 0.0F;
        }
    }

    // Brings the sums of the threads of a row together.
    GR_DEVICE void finish() {
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j)
            for (int mask = kTileColumns / 2; mask > 0; mask /= 2) sums[j] += shuffle_xor(sums[j], mask);
    }
};

GR_DEVICE int tile_row() { return static_cast<int>(threadIdx.x) / kTileColumns; }
GR_DEVICE int tile_column() { return static_cast<int>(threadIdx.x) % kTileColumns; }

// Where the parts of a block's shared memory are.
struct TileMemory {
    float* queries;
    float* weights;
    float* chunk;
    int stride;  // of queries

    GR_DEVICE TileMemory(int n_queries, int key_dim)
        : queries(shared_memory<float>()), stride(query_stride(key_dim)) {
        weights = queries + n_queries * stride;
        chunk = weights + n_queries * kWeightStride;
    }
};

GR_DEVICE Quad& quad_at(float* values) { return *reinterpret_cast<Quad*>(values); }

// Fills the chunk with values [column, column + 64) of rows [step, step + 32), zeros where there are none.
template <quant::Type kType>
GR_DEVICE void load_chunk_as(const TileMemory& memory, const HeadRows& head, SeenRows seen, int step,
                             int column) {
    constexpr int kQuads = kChunkValues / 4;
    for (int i = static_cast<int>(threadIdx.x); i < kStepPositions * kQuads; i += kTileThreads) {
        const int r = i / kQuads;
        const int c = i % kQuads * 4;
        Quad quad{};
        if (seen.contains(step + r) && column + c < head.n_values) {
            const int position = head.listed != nullptr ? head.listed[step + r] : step + r;
            quad = load_quad<kType>(kv_row(head.rows, position, head.head), column + c, head.n_values);
        }
        quad_at(memory.chunk + r * kChunkStride + c) = quad;
    }
}

// The same for the rows' type, with barriers before and after: the chunk has been used, and may be.
GR_DEVICE void load_chunk(const TileMemory& memory, const HeadRows& head, SeenRows seen, int step,
                          int column) {
    using quant::Type;
    __syncthreads();
    switch (head.rows.type) {
        case Type::F32:
            load_chunk_as<Type::F32>(memory, head, seen, step, column);
            break;
        case Type::F16:
            load_chunk_as<Type::F16>(memory, head, seen, step, column);
            break;
        case Type::BF16:
            load_chunk_as<Type::BF16>(memory, head, seen, step, column);
            break;
        case Type::Q8_0:
            load_chunk_as<Type::Q8_0>(memory, head, seen, step, column);
            break;
        default:
            load_chunk_as<Type::Q4_0>(memory, head, seen, step, column);
            break;
    }
    __syncthreads();
}

// Loads query j of the tile from query_of(j), which is nullptr if it isn't there; zeros behind its end.
template <int kQueries, class QueryOf>
GR_DEVICE void load_queries(const TileMemory& memory, int key_dim, const QueryOf& query_of) {
    for (int j = warp_id(); j < kQueries * kTileRows; j += kTileThreads / kWarpSize) {
        const float* query = query_of(j);
        for (int i = lane_id(); i < memory.stride; i += kWarpSize)
            memory.queries[j * memory.stride + i] = query != nullptr && i < key_dim ? query[i] : 0.0F;
    }
}

// Scores of this thread's queries at its two positions of the step.
template <int kQueries>
GR_DEVICE void score_step(float (&scores)[kQueries][2], const TileMemory& memory, const HeadRows& keys,
                          SeenRows rows, int step) {
    for (int column = 0; column < keys.n_values; column += kChunkValues) {
        load_chunk(memory, keys, rows, step, column);
        const int rest = keys.n_values - column;
        const int n = rest < kChunkValues ? rest : kChunkValues;
        float* key = memory.chunk + tile_column() * kChunkStride;
        float* query = memory.queries + tile_row() * memory.stride + column;
        for (int i = 0; i < n; i += 4) {
            const Quad k0 = quad_at(key + i);
            const Quad k1 = quad_at(key + kTileColumns * kChunkStride + i);
            GR_UNROLL
            for (int j = 0; j < kQueries; ++j) {
                const Quad q = quad_at(query + j * kTileRows * memory.stride + i);
                GR_UNROLL
                for (int e = 0; e < 4; ++e) {
                    scores[j][0] += q.values[e] * k0.values[e];
                    scores[j][1] += q.values[e] * k1.values[e];
                }
            }
        }
    }
}

// Turns scores into weights against the largest so far, which are left in shared memory, and scales down what
// has been summed up where a larger one has come.
template <int kQueries, int kChunks>
GR_DEVICE void weigh_step(TileSums<kQueries, kChunks>& sums, const TileMemory& memory,
                          const float (&scores)[kQueries][2], const SeenRows (&seen)[kQueries], int step,
                          float scale) {
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        const int first = step + tile_column();
        const int second = first + kTileColumns;
        const float s0 = seen[j].contains(first) ? scores[j][0] * scale : -INFINITY;
        const float s1 = seen[j].contains(second) ? scores[j][1] * scale : -INFINITY;
        float maximum = fmaxf(s0, s1);
        for (int mask = kTileColumns / 2; mask > 0; mask /= 2)
            maximum = fmaxf(maximum, shuffle_xor(maximum, mask));
        maximum = fmaxf(maximum, sums.maximums[j]);
        const float factor = fast_exp(sums.maximums[j] - maximum);
        const float w0 = fast_exp(s0 - maximum);
        const float w1 = fast_exp(s1 - maximum);
        float* weights = memory.weights + (tile_row() + j * kTileRows) * kWeightStride + tile_column();
        weights[0] = w0;
        weights[kTileColumns] = w1;
        sums.maximums[j] = maximum;
        sums.sums[j] = sums.sums[j] * factor + (w0 + w1);
        GR_UNROLL
        for (int c = 0; c < kChunks; ++c)
            for (int i = 0; i < 4; ++i) sums.results[j][c][i] *= factor;
    }
}

// results += weights · values, of one chunk of columns.
template <int kQueries, int kChunks>
GR_DEVICE void accumulate_chunk(TileSums<kQueries, kChunks>& sums, int c, const TileMemory& memory,
                                const SeenRows (&seen)[kQueries], int step) {
    float* weights = memory.weights + tile_row() * kWeightStride;
    float* values = memory.chunk + 4 * tile_column();
    bool all_seen = true;
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j)
        all_seen = all_seen && seen[j].contains(step) && seen[j].contains(step + kStepPositions - 1);
    if (all_seen) {
        for (int p = 0; p < kStepPositions; p += 4) {
            Quad w[kQueries];
            GR_UNROLL
            for (int j = 0; j < kQueries; ++j) w[j] = quad_at(weights + j * kTileRows * kWeightStride + p);
            GR_UNROLL
            for (int e = 0; e < 4; ++e) {
                const Quad v = quad_at(values + (p + e) * kChunkStride);
                GR_UNROLL
                for (int j = 0; j < kQueries; ++j)
                    for (int i = 0; i < 4; ++i) sums.results[j][c][i] += w[j].values[e] * v.values[i];
            }
        }
        return;
    }
    // Rows that a query does not see are kept from it, instead of being added with the weight 0: they may
    // hold infinities.
    for (int p = 0; p < kStepPositions; ++p) {
        const Quad v = quad_at(values + p * kChunkStride);
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j) {
            if (!seen[j].contains(step + p)) continue;
            const float w = weights[j * kTileRows * kWeightStride + p];
            for (int i = 0; i < 4; ++i) sums.results[j][c][i] += w * v.values[i];
        }
    }
}

// sums += the rows [rows.first, rows.last) for the tile's queries, which lie in shared memory
// (load_queries(); the barrier after it is here). seen: of this thread's queries; scale: of the scores. Steps
// begin at multiples of 32, whatever the tile sees.
template <int kQueries, int kChunks>
GR_DEVICE void attend(TileSums<kQueries, kChunks>& sums, const TileMemory& memory, const HeadRows& keys,
                      const HeadRows& values, const SeenRows (&seen)[kQueries], SeenRows rows, float scale) {
    for (int step = rows.first / kStepPositions * kStepPositions; step < rows.last; step += kStepPositions) {
        float scores[kQueries][2] = {};
        score_step(scores, memory, keys, rows, step);
        weigh_step(sums, memory, scores, seen, step, scale);
        GR_UNROLL
        for (int c = 0; c < kChunks; ++c) {
            if (c * kChunkValues >= values.n_values) break;
            load_chunk(memory, values, rows, step, c * kChunkValues);
            accumulate_chunk(sums, c, memory, seen, step);
        }
    }
}

}  // namespace greenroom::gpu
