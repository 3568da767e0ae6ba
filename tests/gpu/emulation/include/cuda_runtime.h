#pragma once

// CUDA C++ for a compiler that knows none of it: what kernels and launchers of gpu/ say, with the meaning it
// has on a device, run by fibers (tests/gpu/emulation/lanes.h). Found before the toolkit's header of this
// name by the emulated build only. Numbers are those of the device, except that approximate functions are
// exact here.

#define GREENROOM_CUDA_EMULATION 1

#include "tests/gpu/emulation/lanes.h"

#include <cuda_runtime_api.h>
#include <vector_types.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
// A block is run by one thread of the host; lanes.cpp fills all of these with NaN before each block.
#define __shared__ static thread_local

using greenroom::emulation::blockDim;
using greenroom::emulation::blockIdx;
using greenroom::emulation::gridDim;
using greenroom::emulation::threadIdx;
constexpr int warpSize = 32;

// ---- Barriers, votes, shuffles. The last argument is for reports and never passed.

inline void __syncthreads(greenroom::emulation::Place place = {}) { greenroom::emulation::sync_block(place); }
inline void __syncwarp(unsigned mask = 0xffffffffU, greenroom::emulation::Place place = {}) {
    greenroom::emulation::exchange(mask, 0, "__syncwarp()", place);
}

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, greenroom::emulation::Place place = {}) {
    return greenroom::emulation::exchange_values(mask, value, "__shfl_sync()", place)[lane & 31];
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, greenroom::emulation::Place place = {}) {
    const auto values = greenroom::emulation::exchange_values(mask, value, "__shfl_xor_sync()", place);
    return values[(static_cast<int>(threadIdx.x) ^ lane_mask) & 31];
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, greenroom::emulation::Place place = {}) {
    const auto values = greenroom::emulation::exchange_values(mask, value, "__shfl_down_sync()", place);
    const unsigned lane = threadIdx.x & 31U;
    return values[static_cast<int>(lane + delta < 32 ? lane + delta : lane)];
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, greenroom::emulation::Place place = {}) {
    const auto values = greenroom::emulation::exchange_values(mask, value, "__shfl_up_sync()", place);
    const unsigned lane = threadIdx.x & 31U;
    return values[static_cast<int>(lane >= delta ? lane - delta : lane)];
}

inline unsigned __ballot_sync(unsigned mask, int predicate, greenroom::emulation::Place place = {}) {
    const auto values = greenroom::emulation::exchange_values(mask, predicate, "__ballot_sync()", place);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; ++lane) votes |= values[lane] != 0 ? 1U << lane : 0U;
    return votes;
}
inline int __any_sync(unsigned mask, int predicate, greenroom::emulation::Place place = {}) {
    return __ballot_sync(mask, predicate, place) != 0;
}
inline int __all_sync(unsigned mask, int predicate, greenroom::emulation::Place place = {}) {
    return __ballot_sync(mask, predicate, place) == 0xffffffffU;
}

inline void __nanosleep(unsigned /*ns*/) { greenroom::emulation::nap(); }
inline void __threadfence() { greenroom::emulation::fence(); }
inline void __threadfence_block() { greenroom::emulation::fence(); }
inline void __threadfence_system() { greenroom::emulation::fence(); }

// ---- Atomics: other streams' kernels and the host may be at the same address.

template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
    return std::atomic_ref<T>(*address).fetch_add(value);
}
template <class T>
T atomicSub(T* address, std::type_identity_t<T> value) {
    return std::atomic_ref<T>(*address).fetch_sub(value);
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
    return std::atomic_ref<T>(*address).exchange(value);
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
    std::atomic_ref<T>(*address).compare_exchange_strong(expected, value);
    return expected;
}
template <class T>
T atomicOr(T* address, std::type_identity_t<T> value) {
    return std::atomic_ref<T>(*address).fetch_or(value);
}
template <class T>
T atomicAnd(T* address, std::type_identity_t<T> value) {
    return std::atomic_ref<T>(*address).fetch_and(value);
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
    std::atomic_ref<T> place(*address);
    T old = place.load();
    while (old < value && !place.compare_exchange_weak(old, value)) {
    }
    return old;
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
    std::atomic_ref<T> place(*address);
    T old = place.load();
    while (value < old && !place.compare_exchange_weak(old, value)) {
    }
    return old;
}

// ---- Arithmetic

inline int __dp4a(int a, int b, int c) {
    for (int byte = 0; byte < 32; byte += 8)
        c += static_cast<std::int8_t>(a >> byte) * static_cast<std::int8_t>(b >> byte);
    return c;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
    for (int byte = 0; byte < 32; byte += 8)
        c += static_cast<unsigned>(static_cast<std::uint8_t>(a >> byte) *
                                   static_cast<std::uint8_t>(b >> byte));
    return c;
}

inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0F / x; }
inline float rsqrtf(float x) { return 1.0F / std::sqrt(x); }
inline float __saturatef(float x) { return x > 0 ? (x < 1 ? x : 1.0F) : 0.0F; }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return x == 0 ? 0 : std::countr_zero(static_cast<unsigned>(x)) + 1; }
inline unsigned __brev(unsigned x) {
    unsigned reversed = 0;
    for (int bit = 0; bit < 32; ++bit) reversed |= ((x >> bit) & 1U) << (31 - bit);
    return reversed;
}
// Four bytes chosen from the eight of x and y; the sign-replicating selectors (bit 3) are not used by us.
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
    const std::uint64_t bytes = static_cast<std::uint64_t>(y) << 32 | x;
    unsigned chosen = 0;
    for (int i = 0; i < 4; ++i)
        chosen |= static_cast<unsigned>((bytes >> (8 * ((selector >> (4 * i)) & 7U))) & 0xffU) << (8 * i);
    return chosen;
}
// The four bytes subtracted one by one, without borrows between them.
inline unsigned __vsub4(unsigned a, unsigned b) {
    unsigned out = 0;
    for (int byte = 0; byte < 32; byte += 8) out |= (((a >> byte) - (b >> byte)) & 0xffU) << byte;
    return out;
}
template <class T>
T __ldg(const T* from) {
    return *from;
}

template <class T>
std::enable_if_t<std::is_arithmetic_v<T>, T> min(T a, std::type_identity_t<T> b) {
    return b < a ? b : a;
}
template <class T>
std::enable_if_t<std::is_arithmetic_v<T>, T> max(T a, std::type_identity_t<T> b) {
    return a < b ? b : a;
}

// ---- Launching

template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...), A&&... args) {
    greenroom::emulation::Launch launch;
    launch.kernel = reinterpret_cast<const void*>(kernel);
    launch.grid = {config->gridDim.x, config->gridDim.y, config->gridDim.z};
    launch.block = {config->blockDim.x, config->blockDim.y, config->blockDim.z};
    launch.shared_bytes = config->dynamicSmemBytes;
    (greenroom::emulation::note_pointers(launch, static_cast<P>(args)), ...);
    launch.lane = [kernel, copies = std::tuple<P...>(static_cast<P>(args)...)] {
        std::apply(kernel, copies);
    };
    return greenroom::emulation::enqueue_kernel(std::move(launch), config->stream);
}
