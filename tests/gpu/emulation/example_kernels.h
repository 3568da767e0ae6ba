#pragma once

// Kernels with known mistakes, and one of real size, on which the emulation itself is tested.

#include <cstdint>

namespace greenroom::gpu {

class Stream;

enum class Barrier { kept, deleted };

// out[i] = in[255 - i] of 256 values, through shared memory.
void reverse_block(Stream& stream, float* out, const float* in, Barrier barrier);
// The same through a neighbour of the same warp, which needs a __syncwarp().
void rotate_warp(Stream& stream, float* out, const float* in, Barrier barrier);
// Rows of 16 bytes copied asynchronously, and read after or before they have been waited for.
void stage_rows(Stream& stream, float* out, const float* in, Barrier barrier);

// Half of the lanes wait at one barrier, half at another; or half have returned; or half of each warp
// shuffle.
enum class Divergence { two_barriers, early_return, half_a_warp_shuffles, two_helpers };
void diverge(Stream& stream, float* out, Divergence kind);

// Shuffles among the 16 lanes of `mask`.
void shuffle_part(Stream& stream, float* out, unsigned mask);
// A shuffle in a block of n_threads.
void shuffle_in_block_of(Stream& stream, float* out, unsigned n_threads);

// Reads one float behind its dynamic shared memory.
void read_out_of_bounds(Stream& stream, float* out);

// out[0]: the sum of all values, by atomics of 8 blocks.
void sum_by_atomics(Stream& stream, float* out, const float* in, int n);

// Waits until the flag has the value, then stores it.
void wait_and_store(Stream& stream, std::uint32_t* out, const std::uint32_t* flag, std::uint32_t value);

// c = a · b by tensor cores: a, b 16 × 16 half bits, row-major.
void multiply_tile(Stream& stream, float* c, const std::uint16_t* a, const std::uint16_t* b);

// y[r] = Σ_k scale[r, k / 32] · Σ w[r, k] · x[k], with a block of 128 threads per row: dot products of bytes,
// shuffles, shared memory and a barrier.
void dot_rows(Stream& stream, float* y, const std::int8_t* w, const float* scales, const std::int8_t* x,
              int n_rows, int n_cols);

}  // namespace greenroom::gpu
