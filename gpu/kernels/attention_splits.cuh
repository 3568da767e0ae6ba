#pragma once

// Attention over many rows by few queries is shared out among blocks by position: each forms the weighted sum
// of a split, and a second kernel joins them in their order. Shared by attention.cu and mla.cu.

#include "gpu/kernels/attention_tile.cuh"

#include <cstddef>
#include <cstdint>

namespace greenroom::gpu {

// Splits begin at multiples of this, whatever is seen and however many there are, so that a result depends
// neither on the bound that a grid was sized by nor on a ring's size. Eight steps: enough to hide the
// beginning, few enough that 4096 positions of 8 kv heads occupy 128 blocks.
inline constexpr int kSplitPositions = 256;

// Unnormalised results of each split for each query (of a token's head: token · n_heads + head), and what
// they were weighed against. Lies in scratch memory of split_floats().
struct Splits {
    float* results;  // [n_splits, n_queries, value_dim]
    float* stats;    // [n_splits, n_queries, 2]: maximum, sum
    std::int64_t n_queries;
    int value_dim;

    Splits(float* scratch, std::int64_t n_splits, std::int64_t queries, int n_values)
        : results(scratch),
          stats(scratch + n_splits * queries * n_values),
          n_queries(queries),
          value_dim(n_values) {}

    GR_HD float* result(int split, std::int64_t query) const {
        return results + (split * n_queries + query) * value_dim;
    }
    GR_HD float* stat(int split, std::int64_t query) const { return stats + (split * n_queries + query) * 2; }
};

constexpr std::int64_t split_floats(std::int64_t n_splits, std::int64_t n_queries, int value_dim) {
    return n_splits * n_queries * (value_dim + 2);
}

// How many splits n_seen neighbouring positions can touch, all positions being below the bound.
constexpr std::int64_t count_splits(std::int64_t n_seen, std::int64_t bound) {
    const std::int64_t anywhere = (n_seen + kSplitPositions - 2) / kSplitPositions + 1;
    const std::int64_t all = (bound + kSplitPositions - 1) / kSplitPositions;
    return anywhere < all ? anywhere : all;
}

// Writes a thread's share of one query's sums, as they are.
template <int kQueries, int kChunks>
GR_DEVICE void write_split(const Splits& splits, int split, std::int64_t query,
                           const TileSums<kQueries, kChunks>& sums, int j) {
    float* to = splits.result(split, query);
    GR_UNROLL
    for (int c = 0; c < kChunks; ++c)
        for (int i = 0; i < 4; ++i) {
            const int column = c * kChunkValues + 4 * tile_column() + i;
            if (column < splits.value_dim) to[column] = sums.results[j][c][i];
        }
    if (tile_column() == 0) {
        splits.stat(split, query)[0] = sums.maximums[j];
        splits.stat(split, query)[1] = sums.sums[j];
    }
}

// What a result is to be multiplied by: 1 / (sum + e^(sink − maximum)). A sink so far above all scores that
// this overflows leaves nothing of them, which is right. sink: or nullptr.
GR_DEVICE float normalizer(float maximum, float sum, const float* sink) {
    return 1.0F / (sink != nullptr ? sum + fast_exp(*sink - maximum) : sum);
}

// Writes a thread's share of the result of a query that was not split.
template <int kQueries, int kChunks>
GR_DEVICE void write_result(float* out, int value_dim, const TileSums<kQueries, kChunks>& sums, int j,
                            const float* sink) {
    const float factor = normalizer(sums.maximums[j], sums.sums[j], sink);
    GR_UNROLL
    for (int c = 0; c < kChunks; ++c)
        for (int i = 0; i < 4; ++i) {
            const int column = c * kChunkValues + 4 * tile_column() + i;
            if (column < value_dim) out[column] = sums.results[j][c][i] * factor;
        }
}

// out = the splits [first, last) of a query, joined, by all threads of a block.
GR_DEVICE void join_splits(float* out, const Splits& splits, int first, int last, std::int64_t query,
                           const float* sink) {
    float maximum = -FLT_MAX;
    for (int s = first; s < last; ++s) maximum = fmaxf(maximum, splits.stat(s, query)[0]);
    float sum = 0.0F;
    for (int s = first; s < last; ++s)
        sum += fast_exp(splits.stat(s, query)[0] - maximum) * splits.stat(s, query)[1];
    const float factor = normalizer(maximum, sum, sink);
    for (int i = static_cast<int>(threadIdx.x); i < splits.value_dim; i += static_cast<int>(blockDim.x)) {
        float total = 0.0F;
        for (int s = first; s < last; ++s) {
            // A split that a query saw nothing of has the weight 0 and results of 0.
            total += fast_exp(splits.stat(s, query)[0] - maximum) * splits.result(s, query)[i];
        }
        out[i] = total * factor;
    }
}

}  // namespace greenroom::gpu
