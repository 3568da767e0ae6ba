#pragma once

// What kernels are written with: lanes and warps, sums over them, small number formats, flags shared with the
// host, and launch(). Kernels use these and no intrinsics of their own, so that the same file is compiled by
// nvcc and, against tests/gpu/emulation, by an ordinary compiler; that one runs a fiber per CUDA thread.
//
// All collectives are for full warps of converged lanes: every lane of the warp (block_*: of the block) calls
// them, at the same place. The emulation refuses anything else and names the places; that is what the
// CallSite arguments are for, which nobody passes.

#include "gpu/stream.h"
#include "quant/base/matrix_view.h"

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

// __global__, __device__, __shared__, __launch_bounds__, threadIdx, blockIdx, blockDim, gridDim,
// __syncthreads() and
// __syncwarp() are CUDA's own words and the same in both builds.
#define GR_HD __host__ __device__ __forceinline__
#define GR_DEVICE __device__ __forceinline__

#ifdef GREENROOM_CUDA_EMULATION
#define GR_UNROLL
#else
#define GR_UNROLL _Pragma("unroll")
#endif

namespace greenroom::gpu {

#ifdef GREENROOM_CUDA_EMULATION
using CallSite = emulation::CallSite;
#else
struct CallSite {};
#endif

constexpr int kWarpSize = 32;
constexpr unsigned kFullWarp = 0xffffffffU;

// ---- Where am I? Blocks are used in one dimension inside (threadIdx.x), grids in up to three.

GR_DEVICE int lane_id() { return static_cast<int>(threadIdx.x) % kWarpSize; }
GR_DEVICE int warp_id() { return static_cast<int>(threadIdx.x) / kWarpSize; }
GR_DEVICE int n_warps() { return static_cast<int>(blockDim.x) / kWarpSize; }

template <class T>
GR_HD constexpr T ceil_div(T a, T b) {
    return (a + b - 1) / b;
}

// Row r of a view; views' own functions are for the host.
template <class T>
GR_HD T* row_of(const BasicMatrixView<T>& view, std::int64_t r) {
    return view.data + r * view.stride;
}

// The dynamic part of shared memory (the launch's shared_bytes), aligned to 16 bytes. One per block: everyone
// gets the same pointer.
template <class T>
GR_DEVICE T* shared_memory() {
#ifdef GREENROOM_CUDA_EMULATION
    return static_cast<T*>(emulation::dynamic_shared_memory());
#else
    extern __shared__ __align__(16) unsigned char gr_dynamic_shared_memory[];
    return reinterpret_cast<T*>(gr_dynamic_shared_memory);
#endif
}

// ---- Between the lanes of a warp. T: up to 8 bytes, a number.

template <class T>
GR_DEVICE T shuffle(T value, int lane, CallSite = {}) {
    return __shfl_sync(kFullWarp, value, lane);
}
template <class T>
GR_DEVICE T shuffle_xor(T value, int lane_mask, CallSite = {}) {
    return __shfl_xor_sync(kFullWarp, value, lane_mask);
}
// From lane - delta; the first delta lanes keep their own.
template <class T>
GR_DEVICE T shuffle_up(T value, unsigned delta, CallSite = {}) {
    return __shfl_up_sync(kFullWarp, value, delta);
}

// Bit i: the predicate of lane i.
GR_DEVICE unsigned ballot(bool predicate, CallSite = {}) { return __ballot_sync(kFullWarp, predicate); }

template <class T>
GR_DEVICE T larger(T a, T b) {
    return a < b ? b : a;
}

// Sum or maximum over the warp, in every lane. Of floats too the order of additions is fixed, and the same in
// all lanes. A NaN may or may not come out of warp_max.
template <class T>
GR_DEVICE T warp_sum(T value, CallSite = {}) {
    GR_UNROLL
    for (int mask = kWarpSize / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
    return value;
}
template <class T>
GR_DEVICE T warp_max(T value, CallSite = {}) {
    GR_UNROLL
    for (int mask = kWarpSize / 2; mask > 0; mask /= 2) value = larger(value, shuffle_xor(value, mask));
    return value;
}
// Sum over the lanes up to and including this one.
template <class T>
GR_DEVICE T warp_running_sum(T value, CallSite = {}) {
    GR_UNROLL
    for (int delta = 1; delta < kWarpSize; delta *= 2) {
        const T before = shuffle_up(value, static_cast<unsigned>(delta));
        if (lane_id() >= delta) value += before;
    }
    return value;
}

// ---- Between the threads of a block, whose size is a multiple of 32. `shared` holds n_warps() values of T
// (32 always suffice) and may be used again as soon as these return.

template <class T>
GR_DEVICE T block_sum(T value, T* shared, CallSite = {}) {
    value = warp_sum(value);
    if (lane_id() == 0) shared[warp_id()] = value;
    __syncthreads();
    value = warp_sum(lane_id() < n_warps() ? shared[lane_id()] : T{0});
    __syncthreads();
    return value;
}
template <class T>
GR_DEVICE T block_max(T value, T* shared, CallSite = {}) {
    value = warp_max(value);
    if (lane_id() == 0) shared[warp_id()] = value;
    __syncthreads();
    value = warp_max(shared[lane_id() < n_warps() ? lane_id() : 0]);
    __syncthreads();
    return value;
}

// Sum over the threads before this one; `total` becomes that over all.
template <class T>
GR_DEVICE T block_sum_before(T value, T* shared, T& total, CallSite = {}) {
    const T up_to_here = warp_running_sum(value);
    if (lane_id() == kWarpSize - 1) shared[warp_id()] = up_to_here;
    __syncthreads();
    const T up_to_warp = warp_running_sum(lane_id() < n_warps() ? shared[lane_id()] : T{0});
    total = shuffle(up_to_warp, kWarpSize - 1);
    const T before_warp = shuffle(up_to_warp, warp_id() == 0 ? 0 : warp_id() - 1);
    __syncthreads();
    return (warp_id() == 0 ? T{0} : before_warp) + up_to_here - value;
}

// ---- Arithmetic

// c + Σ of the products of the four signed bytes of a and b.
GR_DEVICE int dot4(int a, int b, int c) { return __dp4a(a, b, c); }

// Byte i of the result is byte (selector >> 4i & 7) of the eight of b:a. The nibbles of selector are below 8.
GR_DEVICE std::uint32_t byte_perm(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
#ifdef GREENROOM_CUDA_EMULATION
    const std::uint64_t eight = static_cast<std::uint64_t>(b) << 32 | a;
    std::uint32_t result = 0;
    for (unsigned i = 0; i < 4; ++i)
        result |= static_cast<std::uint32_t>(eight >> (8 * (selector >> (4 * i) & 7)) & 0xff) << (8 * i);
    return result;
#else
    return __byte_perm(a, b, selector);
#endif
}

// a · b + c with two roundings, where a compiler would fuse them.
GR_DEVICE float multiply_then_add(float a, float b, float c) {
#ifdef GREENROOM_CUDA_EMULATION
    return a * b + c;
#else
    return __fadd_rn(__fmul_rn(a, b), c);
#endif
}

// e^x, within 2 ulp + 1.5·|x| · 2^-24 of the value (CUDA's __expf is 2^(x · log2 e) in the special-function
// unit).
GR_DEVICE float fast_exp(float x) { return __expf(x); }

GR_DEVICE float sigmoid(float x) { return 1.0F / (1.0F + expf(-x)); }
GR_DEVICE float silu(float x) { return x / (1.0F + expf(-x)); }

// a · b, rounded by itself even where a sum follows: the compiler makes one rounding of both otherwise.
GR_DEVICE float multiply_rounded(float a, float b) {
#ifdef GREENROOM_CUDA_EMULATION
    return a * b;
#else
    return __fmul_rn(a, b);
#endif
}

// The same bits as another type of the same size.
template <class To, class From>
GR_HD To bits_as(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    memcpy(&to, &from, sizeof(To));
    return to;
}

GR_DEVICE float half_bits_to_float(std::uint16_t bits) { return __half2float(__ushort_as_half(bits)); }
GR_DEVICE std::uint16_t float_to_half_bits(float value) { return __half_as_ushort(__float2half_rn(value)); }
// Two halves in a word, a in its lower half.
GR_DEVICE std::uint32_t pack_halves(float a, float b) {
#ifdef GREENROOM_CUDA_EMULATION
    return float_to_half_bits(a) | static_cast<std::uint32_t>(float_to_half_bits(b)) << 16;
#else
    return bits_as<std::uint32_t>(__floats2half2_rn(a, b));
#endif
}
GR_HD float bf16_bits_to_float(std::uint16_t bits) {
    return bits_as<float>(static_cast<std::uint32_t>(bits) << 16);
}
// Rounds to nearest, ties to even; a NaN stays one.
GR_HD std::uint16_t float_to_bf16_bits(float value) {
    const auto bits = bits_as<std::uint32_t>(value);
    if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<std::uint16_t>((bits >> 16) | 0x0040U);
    return static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

// ---- Memory

// 4 bytes that are 4-byte aligned, or only 2-byte aligned as in blocks whose size is no multiple of 4.
GR_HD std::uint32_t load_u32_aligned(const void* from) { return *static_cast<const std::uint32_t*>(from); }
GR_HD std::uint32_t load_u32(const void* from) {
    const auto* halves = static_cast<const std::uint16_t*>(from);
    return halves[0] | static_cast<std::uint32_t>(halves[1]) << 16;
}

// words = the 4 · n bytes at `from`, which is a multiple of `alignment`. A device reads words at multiples of
// their size only: below 4 the aligned words that hold the run are read and shifted, so up to 3 bytes on
// either side of it have to be readable.
template <int alignment, int n>
GR_DEVICE void load_words(const std::byte* from, std::uint32_t (&words)[n]) {
#ifdef GREENROOM_CUDA_EMULATION
    memcpy(words, from, sizeof words);
#else
    if constexpr (alignment % 16 == 0 && n % 4 == 0) {
        GR_UNROLL
        for (int i = 0; i < n; i += 4) {
            const uint4 four = reinterpret_cast<const uint4*>(from)[i / 4];
            words[i] = four.x;
            words[i + 1] = four.y;
            words[i + 2] = four.z;
            words[i + 3] = four.w;
        }
    } else if constexpr (alignment % 4 == 0) {
        GR_UNROLL
        for (int i = 0; i < n; ++i) words[i] = reinterpret_cast<const std::uint32_t*>(from)[i];
    } else {
        const auto address = reinterpret_cast<std::uintptr_t>(from);
        const auto* aligned = reinterpret_cast<const std::uint32_t*>(address & ~std::uintptr_t{3});
        const auto shift = static_cast<unsigned>(address & 3) * 8;
        std::uint32_t low = aligned[0];
        GR_UNROLL
        for (int i = 0; i < n; ++i) {
            const std::uint32_t high = i + 1 < n || shift != 0 ? aligned[i + 1] : 0;
            words[i] = __funnelshift_r(low, high, shift);
            low = high;
        }
    }
#endif
}

// 16 bytes from global to shared memory, both 16-byte aligned, past the registers where the device can (8.0
// and later). They are there after the thread's copy_async_wait<n>() with at most n younger groups committed,
// and for the other threads after a __syncthreads() behind it.
GR_DEVICE void copy_async_16(void* shared, const void* global) {
#if defined(GREENROOM_CUDA_EMULATION)
    emulation::copy_async_16(shared, global);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                     static_cast<unsigned>(__cvta_generic_to_shared(shared))),
                 "l"(global)
                 : "memory");
#else
    *static_cast<uint4*>(shared) = *static_cast<const uint4*>(global);
#endif
}
GR_DEVICE void copy_async_commit() {
#if defined(GREENROOM_CUDA_EMULATION)
    emulation::copy_async_commit();
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int n>
GR_DEVICE void copy_async_wait() {
#if defined(GREENROOM_CUDA_EMULATION)
    emulation::copy_async_wait(n);
#elif defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
#endif
}

// ---- Flags in mapped host memory. Whoever loads a value sees all that was written before it was stored.

GR_DEVICE std::uint32_t load_flag(const std::uint32_t* flag) {
#ifdef GREENROOM_CUDA_EMULATION
    return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
#else
    std::uint32_t value;
    asm volatile("ld.acquire.sys.global.u32 %0, [%1];" : "=r"(value) : "l"(flag) : "memory");
    return value;
#endif
}
GR_DEVICE void store_flag(std::uint32_t* flag, std::uint32_t value) {
#ifdef GREENROOM_CUDA_EMULATION
    __atomic_store_n(flag, value, __ATOMIC_RELEASE);
#else
    asm volatile("st.release.sys.global.u32 [%0], %1;" ::"l"(flag), "r"(value) : "memory");
#endif
}
// Returns when the flag has this value. It occupies the multiprocessor meanwhile: for few threads and short
// waits.
GR_DEVICE void wait_for_flag(const std::uint32_t* flag, std::uint32_t expected) {
    while (load_flag(flag) != expected) __nanosleep(200);
}
// Returns true when the flag has this value, or false when it has the other.
GR_DEVICE bool wait_for_flag(const std::uint32_t* flag, std::uint32_t expected, std::uint32_t given_up) {
    for (;;) {
        const std::uint32_t value = load_flag(flag);
        if (value == expected) return true;
        if (value == given_up) return false;
        __nanosleep(200);
    }
}

// ---- Launching

// The size of a grid or block. The device takes up to 65535 in y and z.
inline dim3 grid_of(std::int64_t x, std::int64_t y = 1, std::int64_t z = 1) {
    return {static_cast<unsigned>(x), static_cast<unsigned>(y), static_cast<unsigned>(z)};
}

// Throws Error{device}, which names the kernel and the sizes. In gpu/cuda_check.cpp.
[[noreturn]] void launch_failed(int status, const char* name, unsigned (&grid)[3], unsigned (&block)[3],
                                std::size_t shared_bytes);

// Enqueues kernel(args...) with shared_bytes of dynamic shared memory. `name` is for error messages. A grid
// without blocks is no work, and no error. More than 48 KiB are asked for as the device demands; 64 KiB is
// what each can give.
template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes,
            Stream& stream, A... args) {
    static_assert(sizeof...(P) == sizeof...(A), "the kernel takes another number of arguments");
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
    cudaError_t status = cudaSuccess;
    if (shared_bytes > 48 * 1024)
        status =
            cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                                 cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (status == cudaSuccess) {
        cudaLaunchConfig_t config{};
        config.gridDim = grid;
        config.blockDim = block;
        config.dynamicSmemBytes = shared_bytes;
        config.stream = stream.handle();
        status = cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...);
    }
    if (status == cudaSuccess) return;
    unsigned grid_size[3] = {grid.x, grid.y, grid.z};
    unsigned block_size[3] = {block.x, block.y, block.z};
    launch_failed(status, name, grid_size, block_size, shared_bytes);
}

}  // namespace greenroom::gpu
