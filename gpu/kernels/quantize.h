#pragma once

// Activations as integers: what the matrix products with quantized weights (matvec.h, expert_ffn.h) multiply
// with on the GPU.
//
// 32 values have one scale, x ≈ scale · q with |q| <= 32639 and scale = the largest |x| / 32639, so
// |x − scale · q| <= scale / 2: an error of at most 1 / 65278 of the largest of the 32. (The CPU has 15 bits
// and one scale for 256 values, cpu/quantize.h: about as exact.) q is kept as two signed bytes, q = 256 ·
// high
// + low, since a GPU multiplies four pairs of bytes in an instruction. The second byte costs a decode step
// next to nothing, as its weights come from memory; for eight vectors at once products begin to count. One
// byte alone would be off by 1 / 254 of the largest.

#include "quant/base/matrix_view.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::gpu {

class Stream;

// 2.5 bytes per value.
struct alignas(16) ActivationBlock {
    static constexpr int kValues = 32;
    static constexpr int kLargest = 127 * 256 + 127;
    std::int8_t high[kValues];
    std::int8_t low[kValues];
    float scale;
    float half_sums[2];  // scale · Σq of values 0–15 and 16–31, for weights with an offset
    float sum;           // of both
};
static_assert(sizeof(ActivationBlock) == 80);

// Rows of blocks in device memory, seen and not owned; `stride` blocks from row to row.
struct ActivationRows {
    ActivationBlock* data = nullptr;
    std::int64_t stride = 0;
};

// n_values is a multiple of 32.
inline std::int64_t activation_bytes(std::int64_t n_rows, std::int64_t n_values) noexcept {
    return n_rows * (n_values / ActivationBlock::kValues) *
           static_cast<std::int64_t>(sizeof(ActivationBlock));
}

// Quantizes n_heads vectors of n_values in each row of x, head_stride floats from one to the next: head h of
// row t becomes row t · n_heads + h. A whole row is one head. 32 values that hold a NaN or an infinity get
// the scale NaN, so that products with them are NaN; 32 that are all below 2^-111 in magnitude become zero.
void quantize_rows(Stream& stream, ActivationRows rows, ConstMatrixView x, std::int64_t n_heads,
                   std::int64_t n_values, std::int64_t head_stride);

// Quantizes row calls[i] of x into the row of the same number, for i < first[*n_groups]: the hits of calls.h.
// n_most: at least as many.
void quantize_listed_rows(Stream& stream, ActivationRows rows, ConstMatrixView x, const std::int32_t* calls,
                          const std::int32_t* first, const std::int32_t* n_groups, std::int64_t n_most);

}  // namespace greenroom::gpu
