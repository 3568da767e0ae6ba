// Top candidates: the k highest of n logits, in order.
//
// A logit and its id become one 64-bit key, so that an order of keys is one of values and, among equals, of
// ids. A block of 256 threads sorts a slice of 2048 keys in shared memory (bitonic, Batcher 1968: 66 steps)
// and writes the first k; passes follow on what is left, 2048 / k times less each, until one block is left,
// which writes ids and values. 262144 logits and k = 256: 128, 16, 2 and 1 blocks. Reads 4 bytes per logit
// once; bound by the latency of the sorts. Tolerance: none.

#include "gpu/kernels/top_candidates.h"

#include "gpu/device.cuh"
#include "gpu/kernels/order.cuh"
#include "gpu/launch_check.h"

namespace greenroom::gpu {
namespace {

constexpr int kThreads = 256;
constexpr int kSlice = 2048;

// 0: no logit; larger than 0 for all others, NaN included.
GR_DEVICE std::uint64_t make_key(float value, std::int64_t id) {
    return std::uint64_t{order_key(value)} << 32 | (0xffffffffU - static_cast<std::uint32_t>(id));
}

// Falling order.
GR_DEVICE void sort_slice(std::uint64_t* keys) {
    for (int run = 2; run <= kSlice; run *= 2)
        for (int distance = run / 2; distance > 0; distance /= 2) {
            __syncthreads();
            for (int i = static_cast<int>(threadIdx.x); i < kSlice / 2; i += kThreads) {
                const int low = i / distance * distance * 2 + i % distance;
                const std::uint64_t a = keys[low];
                const std::uint64_t b = keys[low + distance];
                const bool falling = (low & run) == 0;
                if ((a < b) == falling) {
                    keys[low] = b;
                    keys[low + distance] = a;
                }
            }
        }
    __syncthreads();
}

// One pass, over `logits` (the first) or over the `from` of the pass before. `to`: k keys per block; in the
// last pass nullptr, and ids and values are written.
__global__ void __launch_bounds__(kThreads)
    top_candidates_kernel(const float* logits, const std::uint64_t* from, std::int64_t n, std::uint64_t* to,
                          int k, std::int32_t* ids, float* values) {
    __shared__ std::uint64_t keys[kSlice];
    const std::int64_t begin = std::int64_t{blockIdx.x} * kSlice;
    for (int i = static_cast<int>(threadIdx.x); i < kSlice; i += kThreads) {
        const std::int64_t here = begin + i;
        keys[i] = here >= n ? 0 : logits != nullptr ? make_key(logits[here], here) : from[here];
    }
    sort_slice(keys);
    for (int i = static_cast<int>(threadIdx.x); i < k; i += kThreads) {
        if (to != nullptr) {
            to[std::int64_t{blockIdx.x} * k + i] = keys[i];
            continue;
        }
        const auto id = static_cast<std::uint32_t>(keys[i]);
        ids[i] = keys[i] == 0 ? -1 : static_cast<std::int32_t>(0xffffffffU - id);
        values[i] = order_value(static_cast<std::uint32_t>(keys[i] >> 32));
    }
}

}  // namespace

std::int64_t top_candidates_scratch(std::int64_t n_logits, int k) noexcept {
    const std::int64_t first = ceil_div<std::int64_t>(n_logits, kSlice) * k;
    return first + ceil_div<std::int64_t>(first, kSlice) * k;
}

void top_candidates(Stream& stream, std::span<std::int32_t> ids, std::span<float> values,
                    std::span<const float> logits, std::span<std::uint64_t> scratch) {
    const auto k = static_cast<int>(ids.size());
    auto n = static_cast<std::int64_t>(logits.size());
    GR_LAUNCH_CHECK(k >= 1 && k <= kMaxCandidates && values.size() == ids.size() && n >= 1);
    GR_LAUNCH_CHECK(static_cast<std::int64_t>(scratch.size()) >= top_candidates_scratch(n, k));
    // Passes write to one part of the scratch memory and then the other.
    std::uint64_t* parts[2] = {scratch.data(), scratch.data() + ceil_div<std::int64_t>(n, kSlice) * k};
    const float* first = logits.data();
    const std::uint64_t* from = nullptr;
    for (int pass = 0;; ++pass) {
        const std::int64_t n_blocks = ceil_div<std::int64_t>(n, kSlice);
        std::uint64_t* to = n_blocks == 1 ? nullptr : parts[pass % 2];
        launch("top_candidates", top_candidates_kernel, grid_of(n_blocks), grid_of(kThreads), 0, stream,
               first, from, n, to, k, ids.data(), values.data());
        if (to == nullptr) return;
        first = nullptr;
        from = to;
        n = n_blocks * k;
    }
}

}  // namespace greenroom::gpu
