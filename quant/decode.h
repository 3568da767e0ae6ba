#pragma once

// Reference decode: rows of native ggml blocks to float32.
//
// The result is bit for bit what the format defines (the reference implementation's order of float32 products
// and sums, nothing fused), so it is the oracle of every faster kernel. The loops are plain; no SIMD is
// written out. All functions are pure and may be called by any thread.

#include "quant/types.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::quant {

// Decodes n_values values, a multiple of the type's block_values, from blocks that lie one after the other.
// blocks needs no alignment and holds row_bytes(type, n_values) bytes; out has room for n_values floats and
// overlaps nothing.
using DecodeFn = void (*)(const std::byte* blocks, float* out, std::int64_t n_values) noexcept;

// The decoder of a type, to be chosen once outside of a loop; nullptr where TypeInfo::decodable is false.
DecodeFn find_decoder(Type type) noexcept;

// find_decoder() and the call in one. The type is decodable.
void decode_row(Type type, const std::byte* blocks, float* out, std::int64_t n_values) noexcept;

}  // namespace greenroom::quant
