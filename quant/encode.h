#pragma once

// Encoders from float32 to F32, F16, BF16, Q8_0, Q8_K, Q4_0 and Q4_K.
//
// F16, BF16, Q8_0, Q8_K and Q4_0 give the bytes that the reference implementation gives. Q4_K leaves the
// choice of scales to the encoder; this one searches for the smallest squared error, which takes about 80 µs
// per block of 256 values (one core of a 2.5 GHz Xeon): meant for tests and tools. Pure functions; may be
// called by any thread.
//
// Values that a block can't hold:
//   - F32, F16 and BF16 keep infinities, and NaN as some NaN.
//   - One NaN or infinity among the values of a block type makes the whole block NaN: its scale is NaN and
//     its q's are 0. A fault stays visible, instead of turning into plausible numbers.
//   - A scale beyond 65504, the largest half float, is stored as infinity, as conversion to half does; the
//     block decodes to infinities and NaN. Q8_K has a float32 scale and no such limit.
//   - Values so small that their scale vanishes become 0.

#include "quant/types.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::quant {

// Writes row_bytes(type, n_values) bytes to blocks, which needs no alignment and overlaps nothing. n_values:
// a multiple of the type's block_values.
using EncodeFn = void (*)(const float* values, std::byte* blocks, std::int64_t n_values) noexcept;

// The encoder of a type, or nullptr for one that isn't encodable.
EncodeFn find_encoder(Type type) noexcept;

// Whether there is one.
bool encodable(Type type) noexcept;

// Calls it. Throws Error{internal} for a type that isn't encodable or a row that isn't a whole number of
// blocks.
void encode_row(Type type, const float* values, std::byte* blocks, std::int64_t n_values);

}  // namespace greenroom::quant
