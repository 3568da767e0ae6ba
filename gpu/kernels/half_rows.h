#pragma once

// Activations as half floats: what the products with many vectors (gemm.h) feed to the tensor cores.
//
// A row has one scale, a power of two such that its largest value lies in [2^14, 2^15) and cannot overflow:
// x ≈ scale · half, |x − scale · half| <= |x| · 2^-11, or 2^-39 of the row's largest where x is tinier still.

#include "quant/base/matrix_view.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::gpu {

class Stream;

// Rows of 16-bit floats in device memory, seen and not owned; `stride` values from row to row, a multiple of
// kHalfRowMultiple. What a row has beyond its values is zero, up to the stride.
struct HalfRows {
    std::uint16_t* data = nullptr;
    float* scales = nullptr;  // one per row
    std::int64_t stride = 0;
};

inline constexpr std::int64_t kHalfRowMultiple = 64;

inline std::int64_t half_row_stride(std::int64_t n_values) noexcept {
    return (n_values + kHalfRowMultiple - 1) / kHalfRowMultiple * kHalfRowMultiple;
}
inline std::int64_t half_rows_bytes(std::int64_t n_rows, std::int64_t n_values) noexcept {
    return n_rows * (half_row_stride(n_values) * 2 + 4) + 16;
}
// In memory of half_rows_bytes() at a multiple of 16.
HalfRows half_rows_in(std::byte* memory, std::int64_t n_rows, std::int64_t n_values) noexcept;

// Converts n_heads vectors of n_values in each row of x, head_stride floats from one to the next: head h of
// row t becomes row t · n_heads + h. A row with a NaN or an infinity keeps them.
void convert_rows(Stream& stream, HalfRows rows, ConstMatrixView x, std::int64_t n_heads,
                  std::int64_t n_values, std::int64_t head_stride);

// Converts row calls[i] of x into the row of the same number, for i < first[*n_groups]: the hits of calls.h.
// n_most: at least as many.
void convert_listed_rows(Stream& stream, HalfRows rows, ConstMatrixView x, const std::int32_t* calls,
                         const std::int32_t* first, const std::int32_t* n_groups, std::int64_t n_most);

}  // namespace greenroom::gpu
