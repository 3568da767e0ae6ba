// The lightning indexer (DeepSeek-V3.2, arXiv:2512.02556, section 2.1, eq. 1).
//
//   score[t][s] = Σ_h weights[t][h] · max(0, q[t][h] · keys[s]);   visible[t] = the top_k highest, by
//   position
//
// index_scores_kernel: grid x of 32 positions, y tokens; 128 threads in 8 rows of 16. The 32 keys lie decoded
// in shared memory; the thread in row y and column x forms the products of heads y, y + 8, y + 16, … with the
// keys x and x + 16, four heads at a time, and the rows' sums are added in the end. Bytes: each key once per
// token; queries from the L1 cache. Bound by arithmetic: 64 heads × 128 products per key.
//
// index_choose_kernel: a block of 512 threads per token. The least score that is taken is found by its bits,
// 11, 11 and 10 at a time, with a histogram of those that agree so far; then the positions go by in order and
// those that are above it, and the first that equal it, are written. Reads the scores four times: bound by
// the L2 cache and the latency of one block.
//
// Tolerance: scores within 1e-5 of the largest against cpu/indexer.cpp (other order of sums); the choice
// among given scores is exact.

#include "gpu/kernels/indexer.h"

#include "gpu/device.cuh"
#include "gpu/kernels/kv_values.cuh"
#include "gpu/kernels/order.cuh"
#include "gpu/launch_check.h"
#include "gpu/step_state.h"

#include <cmath>

namespace greenroom::gpu {
namespace {

using quant::Type;

constexpr int kScoreThreads = 128;
constexpr int kRows = 8;
constexpr int kColumns = 16;
constexpr int kPositions = 32;
constexpr int kHeadsAtOnce = 4;
constexpr int kChooseThreads = 512;
constexpr int kBins = 2048;

GR_HD constexpr int key_stride(int head_dim) { return ceil_div(head_dim, 4) * 4 + 4; }

template <Type kType>
GR_DEVICE void load_keys_as(float* to, const KvRows& keys, int begin, int end) {
    const auto n = static_cast<int>(keys.n_values);
    const int n_quads = ceil_div(n, 4);
    for (int i = static_cast<int>(threadIdx.x); i < kPositions * n_quads; i += kScoreThreads) {
        const int r = i / n_quads;
        const int column = i % n_quads * 4;
        Quad quad{};
        if (begin + r < end) quad = load_quad<kType>(kv_row(keys, begin + r), column, n);
        *reinterpret_cast<Quad*>(to + r * key_stride(n) + column) = quad;
    }
}

GR_DEVICE void load_keys(float* to, const KvRows& keys, int begin, int end) {
    switch (keys.type) {
        case Type::F32:
            return load_keys_as<Type::F32>(to, keys, begin, end);
        case Type::F16:
            return load_keys_as<Type::F16>(to, keys, begin, end);
        case Type::BF16:
            return load_keys_as<Type::BF16>(to, keys, begin, end);
        case Type::Q8_0:
            return load_keys_as<Type::Q8_0>(to, keys, begin, end);
        default:
            return load_keys_as<Type::Q4_0>(to, keys, begin, end);
    }
}

__global__ void __launch_bounds__(kScoreThreads)
    index_scores_kernel(float* scores, std::int64_t scores_stride, ConstMatrixView q, ConstMatrixView weights,
                        KvRows keys, const StepState* step) {
    __shared__ float sums[kRows * kPositions];
    float* keys_shared = shared_memory<float>();
    const auto t = static_cast<int>(blockIdx.y);
    const int begin = static_cast<int>(blockIdx.x) * kPositions;
    const int end = step->first_position + t + 1;
    if (begin >= end) return;
    const auto head_dim = static_cast<int>(keys.n_values);
    const auto n_heads = static_cast<int>(weights.n_cols);
    const int row = static_cast<int>(threadIdx.x) / kColumns;
    const int column = static_cast<int>(threadIdx.x) % kColumns;
    load_keys(keys_shared, keys, begin, end);
    __syncthreads();

    float* key = keys_shared + column * key_stride(head_dim);
    float score[2] = {};
    for (int first = row; first < n_heads; first += kHeadsAtOnce * kRows) {
        float products[kHeadsAtOnce][2] = {};
        for (int i = 0; i < head_dim; i += 4) {
            const Quad k0 = *reinterpret_cast<Quad*>(key + i);
            const Quad k1 = *reinterpret_cast<Quad*>(key + kColumns * key_stride(head_dim) + i);
            GR_UNROLL
            for (int j = 0; j < kHeadsAtOnce; ++j) {
                const int head = first + j * kRows;
                if (head >= n_heads) continue;
                const auto* query =
                    reinterpret_cast<const std::byte*>(row_of(q, t) + std::int64_t{head} * head_dim);
                const Quad values = load_quad<Type::F32>(query, i, head_dim);
                GR_UNROLL
                for (int e = 0; e < 4; ++e) {
                    products[j][0] += values.values[e] * k0.values[e];
                    products[j][1] += values.values[e] * k1.values[e];
                }
            }
        }
        GR_UNROLL
        for (int j = 0; j < kHeadsAtOnce; ++j) {
            const int head = first + j * kRows;
            if (head >= n_heads) continue;
            const float weight = row_of(weights, t)[head];
            score[0] += weight * fmaxf(0.0F, products[j][0]);
            score[1] += weight * fmaxf(0.0F, products[j][1]);
        }
    }
    sums[row * kPositions + column] = score[0];
    sums[row * kPositions + column + kColumns] = score[1];
    __syncthreads();
    const int position = begin + static_cast<int>(threadIdx.x);
    if (threadIdx.x >= kPositions || position >= end) return;
    float sum = 0.0F;
    for (int r = 0; r < kRows; ++r) sum += sums[r * kPositions + static_cast<int>(threadIdx.x)];
    // A NaN (broken weights) has no place in an order.
    scores[t * scores_stride + position] = sum == sum ? sum : -INFINITY;
}

struct Threshold {
    std::uint32_t key;  // of the least score that is taken
    int n_equal;        // how many of those that score exactly this
};

// The top_k-th highest of n keys; top_k <= n. All threads get it.
GR_DEVICE Threshold find_threshold(const float* scores, int n, int top_k) {
    __shared__ int bins[kBins];
    __shared__ int shared[kWarpSize];
    __shared__ Threshold found;
    std::uint32_t prefix = 0;
    int shift = 32;
    int rest = top_k;
    for (int pass = 0; pass < 3; ++pass) {
        const int n_bits = pass < 2 ? 11 : 10;
        for (int i = static_cast<int>(threadIdx.x); i < kBins; i += kChooseThreads) bins[i] = 0;
        __syncthreads();
        shift -= n_bits;
        const int n_bins = 1 << n_bits;
        for (int s = static_cast<int>(threadIdx.x); s < n; s += kChooseThreads) {
            const std::uint32_t key = order_key(scores[s]);
            // In 64 bits, since nothing is known before the first pass: a shift by all 32.
            if (std::uint64_t{key} >> (shift + n_bits) != std::uint64_t{prefix} >> (shift + n_bits)) continue;
            atomicAdd(&bins[key >> shift & static_cast<unsigned>(n_bins - 1)], 1);
        }
        __syncthreads();
        // Threads take the bins from the highest down; one of them finds that it passes `rest`.
        const int per_thread = n_bins / kChooseThreads;
        const int highest = n_bins - 1 - static_cast<int>(threadIdx.x) * per_thread;
        int mine = 0;
        for (int i = 0; i < per_thread; ++i) mine += bins[highest - i];
        int total = 0;
        int before = block_sum_before(mine, shared, total);
        if (before < rest && before + mine >= rest) {
            int bin = highest;
            while (before + bins[bin] < rest) before += bins[bin--];
            found = {prefix | static_cast<std::uint32_t>(bin) << shift, rest - before};
        }
        __syncthreads();
        // Written again only behind the next pass's barriers.
        prefix = found.key;
        rest = found.n_equal;
    }
    return {prefix, rest};
}

__global__ void __launch_bounds__(kChooseThreads)
    index_choose_kernel(std::int32_t* visible, int top_k, const float* all_scores, std::int64_t scores_stride,
                        const StepState* step) {
    __shared__ int shared[kWarpSize];
    const auto t = static_cast<int>(blockIdx.x);
    const auto me = static_cast<int>(threadIdx.x);
    const int n = step->first_position + t + 1;
    const float* scores = all_scores + t * scores_stride;
    std::int32_t* out = visible + std::int64_t{t} * top_k;
    if (n <= top_k) {
        for (int s = me; s < top_k; s += kChooseThreads) out[s] = s < n ? s : -1;
        return;
    }
    const Threshold least = find_threshold(scores, n, top_k);
    int n_above = 0;  // of the positions so far
    int n_equal = 0;
    for (int begin = 0; begin < n; begin += kChooseThreads) {
        const int s = begin + me;
        const std::uint32_t key = s < n ? order_key(scores[s]) : 0;
        const bool above = key > least.key;
        const bool equal = s < n && key == least.key;
        // Both counts in one sum: neither exceeds 512.
        int total = 0;
        const int before = block_sum_before((above ? 1 : 0) | (equal ? 1 << 16 : 0), shared, total);
        const int equal_before = n_equal + (before >> 16);
        const int taken_before =
            n_above + (before & 0xffff) + (equal_before < least.n_equal ? equal_before : least.n_equal);
        if (above || (equal && equal_before < least.n_equal)) out[taken_before] = s;
        n_above += total & 0xffff;
        n_equal += total >> 16;
    }
}

}  // namespace

std::int64_t indexer_scratch_floats(std::int64_t n_tokens, std::int64_t max_positions) noexcept {
    return n_tokens * max_positions;
}

void index_positions(Stream& stream, std::span<std::int32_t> visible, ConstMatrixView q,
                     ConstMatrixView weights, const KvRows& keys, const StepState* step,
                     std::int64_t max_positions, std::int64_t top_k, std::span<float> scratch) {
    GR_LAUNCH_CHECK(q.n_cols == weights.n_cols * keys.n_values && q.n_rows == weights.n_rows);
    GR_LAUNCH_CHECK(static_cast<std::int64_t>(visible.size()) == q.n_rows * top_k && top_k >= 1);
    GR_LAUNCH_CHECK(keys.n_values <= kMaxIndexDim && is_kv_type(keys.type));
    GR_LAUNCH_CHECK(static_cast<std::int64_t>(scratch.size()) >=
                    indexer_scratch_floats(q.n_rows, max_positions));
    const std::size_t shared_bytes =
        sizeof(float) * static_cast<std::size_t>(kPositions * key_stride(static_cast<int>(keys.n_values)));
    launch("index_scores", index_scores_kernel,
           grid_of(ceil_div<std::int64_t>(max_positions, kPositions), q.n_rows), grid_of(kScoreThreads),
           shared_bytes, stream, scratch.data(), max_positions, q, weights, keys, step);
    launch("index_choose", index_choose_kernel, grid_of(q.n_rows), grid_of(kChooseThreads), 0, stream,
           visible.data(), static_cast<int>(top_k), scratch.data(), max_positions, step);
}

}  // namespace greenroom::gpu
