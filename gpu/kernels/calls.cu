// Hits and misses, and the sum that comes back.
//
// split_calls: one block of 512 threads, thread e for expert e. The calls go by in pieces of 512 through
// shared memory, twice: to be counted, and, when sums over the experts before have given each its place, to
// be written down. So groups and the calls in them are in a fixed order, without atomics. Reads 8 bytes per
// call, writes up to 16, 12 of them over PCIe: bound by latency for a few tokens; 16384 calls (2048 tokens of
// 8) are 2 · 16384 comparisons per thread. The x of a token with misses is another 4 · d_model bytes over
// PCIe: 28 KB are written in about 2 us on PCIe 4.0 x16.
//
// tell_missed: a warp. 4 bytes per call.
//
// wait_and_add: up to 32 blocks; the first thread of each waits for the flag, then all add. Reads 4 bytes per
// value over PCIe: bound by the host.
//
// Tolerance: none.

#include "gpu/kernels/calls.h"

#include "gpu/device.cuh"
#include "gpu/launch_check.h"
#include "gpu/step_state.h"

#include <algorithm>

namespace greenroom::gpu {
namespace {

constexpr int kThreads = 512;  // as many as there can be experts
constexpr int kAddThreads = 256;
constexpr std::int64_t kMaxAddBlocks = 32;

__global__ void __launch_bounds__(kThreads)
    split_calls_kernel(HitGroups hits, HostCalls host, const std::int32_t* experts, const float* weights,
                       int n_calls, const std::byte* const* slots, int n_experts, const StepState* step,
                       ConstMatrixView x) {
    __shared__ std::int32_t piece[kThreads];
    __shared__ int sums[kWarpSize];
    const auto me = static_cast<int>(threadIdx.x);
    const std::byte* slot = me < n_experts ? slots[me] : nullptr;

    int n_mine = 0;
    int n_missed = 0;
    for (int begin = 0; begin < n_calls; begin += kThreads) {
        const int call = begin + me;
        const int n = n_calls - begin < kThreads ? n_calls - begin : kThreads;
        __syncthreads();
        if (call < n_calls) {
            const std::int32_t expert = experts[call];
            const bool hit = slots[expert] != nullptr;
            piece[me] = expert;
            n_missed += hit ? 0 : 1;
            host.experts[call] = expert;
            host.weights[call] = weights[call];
            host.missed[call] = hit ? -1 : expert;
        }
        __syncthreads();
        if (slot != nullptr)
            for (int i = 0; i < n; ++i) n_mine += piece[i] == me ? 1 : 0;
    }
    int n_hits = 0;
    int n_groups = 0;
    int all_missed = 0;
    int next = block_sum_before(n_mine, sums, n_hits);
    const int group = block_sum_before(n_mine > 0 ? 1 : 0, sums, n_groups);
    block_sum_before(n_missed, sums, all_missed);
    if (host.x != nullptr && all_missed > 0) {
        for (std::int64_t i = me; i < x.n_rows * x.n_cols; i += kThreads)
            host.x[i] = row_of(x, i / x.n_cols)[i % x.n_cols];
        __syncthreads();
    }
    if (n_mine > 0) {
        hits.slots[group] = slot;
        hits.experts[group] = me;
        hits.first[group] = next;
    }
    if (me == 0) {
        hits.first[n_groups] = n_hits;
        *hits.n_groups = n_groups;
        *hits.n_misses = all_missed;
        // All threads have written what they tell: barriers lie between.
        store_flag(host.ready, step->step);
    }
    for (int begin = 0; begin < n_calls; begin += kThreads) {
        const int n = n_calls - begin < kThreads ? n_calls - begin : kThreads;
        __syncthreads();
        if (me < n) piece[me] = experts[begin + me];
        __syncthreads();
        if (n_mine == 0) continue;
        for (int i = 0; i < n; ++i)
            if (piece[i] == me) hits.calls[next++] = begin + i;
    }
}

__global__ void __launch_bounds__(kWarpSize)
    tell_missed_kernel(std::int32_t* missed, std::uint32_t* ready, const std::int32_t* experts, int n_calls,
                       const std::byte* const* slots, const StepState* step) {
    for (int call = static_cast<int>(threadIdx.x); call < n_calls; call += kWarpSize)
        missed[call] = slots[experts[call]] != nullptr ? -1 : experts[call];
    __syncthreads();
    if (threadIdx.x == 0) store_flag(ready, step->step);
}

__global__ void __launch_bounds__(kAddThreads)
    wait_and_add_kernel(MatrixView out, ConstMatrixView partial, const std::uint32_t* flag,
                        const std::int32_t* n_misses, const StepState* step) {
    __shared__ int arrived;
    if (n_misses != nullptr && *n_misses == 0) return;
    if (threadIdx.x == 0) arrived = wait_for_flag(flag, step->step, kGivenUp) ? 1 : 0;
    __syncthreads();
    if (arrived == 0) return;
    const std::int64_t n = out.n_rows * out.n_cols;
    const std::int64_t stride = std::int64_t{gridDim.x} * kAddThreads;
    for (std::int64_t i = std::int64_t{blockIdx.x} * kAddThreads + threadIdx.x; i < n; i += stride) {
        const std::int64_t r = i / out.n_cols;
        const std::int64_t c = i % out.n_cols;
        row_of(out, r)[c] += row_of(partial, r)[c];
    }
}

}  // namespace

void split_calls(Stream& stream, const HitGroups& hits, const HostCalls& host,
                 std::span<const std::int32_t> experts, std::span<const float> weights,
                 std::span<const std::byte* const> slots, const StepState* step, ConstMatrixView x) {
    GR_LAUNCH_CHECK(experts.size() == weights.size());
    GR_LAUNCH_CHECK(static_cast<int>(slots.size()) <= kThreads);
    GR_LAUNCH_CHECK(host.x == nullptr || x.data != nullptr);
    launch("split_calls", split_calls_kernel, grid_of(1), grid_of(kThreads), 0, stream, hits, host,
           experts.data(), weights.data(), static_cast<int>(experts.size()), slots.data(),
           static_cast<int>(slots.size()), step, x);
}

void tell_missed(Stream& stream, std::int32_t* missed, std::uint32_t* ready,
                 std::span<const std::int32_t> experts, std::span<const std::byte* const> slots,
                 const StepState* step) {
    launch("tell_missed", tell_missed_kernel, grid_of(1), grid_of(kWarpSize), 0, stream, missed, ready,
           experts.data(), static_cast<int>(experts.size()), slots.data(), step);
}

void wait_and_add(Stream& stream, MatrixView out, ConstMatrixView partial, const std::uint32_t* flag,
                  const std::int32_t* n_misses, const StepState* step) {
    GR_LAUNCH_CHECK(out.n_rows == partial.n_rows && out.n_cols == partial.n_cols);
    const std::int64_t n_blocks =
        std::min(kMaxAddBlocks, ceil_div<std::int64_t>(out.n_rows * out.n_cols, kAddThreads));
    launch("wait_and_add", wait_and_add_kernel, grid_of(n_blocks), grid_of(kAddThreads), 0, stream, out,
           partial, flag, n_misses, step);
}

}  // namespace greenroom::gpu
