#pragma once

// Dot products of quantized weights with quantized activations: the kernels of each weight format and what
// all of them compute.
//
// Per block of 256 activations and plane of theirs (quantize.h), products are summed exactly, in integers.
// With the super-blocks' integer scales and minimums
//
//     T = Σ_i weight scale_{group of i} · q_w,i · q_x,i        M = Σ_i minimum_{group of i} · q_x,i
//     sum += (d · plane scale) · T;    sum += (−dmin · plane scale) · M
//
// (for IQ1 to IQ3 d is the format's own divided by 8, 4 or 1, which makes all else integers)
//
// and for blocks of 32 with float scales d_u and minimums m_u, of which IQ4_XS is counted as one, in turn
//
//     T_u = Σ_{i in u} q_w,i · q_x,i                           c += d_u · T_u for each u, from 0 on;
//     S_u = Σ_{i in u} q_x,i                                   then c += m_u · S_u for each u
//     sum += plane scale · c           (finite for weights below 2^105)
//
// Each += is a fused product with one rounding, a factor in brackets another; the high plane comes before the
// low one. As all else is exact, a result depends on the row, the vector and the number of planes only, and
// every SIMD kernel has the same bits, however it goes about it. The scalar reference decodes the block and
// accumulates in double.
//
// Three ways to go about it: a row at a time, straight from its blocks, where the weights come from memory
// for few vectors (dot_rows.h); for many vectors a tile of rows, laid out anew (dot_tile.h); and the same
// where vectors are packed before, too, for many tiles (packed_vectors.h).

#include "cpu/isa.h"
#include "cpu/packed_vectors.h"
#include "cpu/quantize.h"
#include "quant/types.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

// Rows that dot_tile() takes at a time, and that are handed out to threads.
inline constexpr int kTileRows = 32;

// Rows that dot_rows() takes at a time. (The activations are laid out once for all, and memory is not waited
// for between them: with 32 rows decoding takes 4 to 6 % more time.)
inline constexpr int kRunRows = 1024;

// How far ahead dot_rows() fetches rows: this behind the start of the last of the four in use. (Without their
// length, 8 KiB for all: Q8_0 with rows of 4096 values 25 instead of 32 GB/s. Of 1 to 16 KiB this is best
// for a thread that has a chiplet to itself.)
inline constexpr std::int64_t kRowsAhead = 6144;

struct QuantDot {
    // out[r] = row r · x for r < n_rows <= kRunRows. rows: n_values weights each, a whole number of blocks,
    // which need no alignment, row_bytes from one to the next.
    using DotRows = void (*)(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                             const ActivationBlock* x, Planes planes, std::int64_t n_values,
                             float* out) noexcept;
    DotRows dot_rows;

    // out[j · kTileRows + r] = row r · x[j] for j < n_vectors and r < n_rows <= kTileRows; up to kTileRows
    // something is written. out: aligned to 64 bytes. nullptr where an ISA has none.
    using DotTile = void (*)(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                             const ActivationBlock* const* x, int n_vectors, Planes planes,
                             std::int64_t n_values, float* out) noexcept;
    DotTile dot_tile = nullptr;

    // The same of packed vectors. out: room for a multiple of 16 vectors. nullptr where packing does not pay.
    using DotPacked = void (*)(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                               const PackedVectors* packed, int n_vectors, Planes planes,
                               std::int64_t n_values, float* out) noexcept;
    DotPacked dot_packed = nullptr;
};

// By ISA.
using QuantDots = std::array<QuantDot, kIsas>;

// The kernels of a type, or nullptr for a type that is multiplied in float32 only: F32, F16, BF16, and those
// quantized types that have no kernel yet.
const QuantDot* find_quant_dot(quant::Type type, Isa isa) noexcept;

extern const QuantDots kDotQ4_0;
extern const QuantDots kDotQ4_1;
extern const QuantDots kDotQ5_0;
extern const QuantDots kDotQ5_1;
extern const QuantDots kDotQ8_0;
extern const QuantDots kDotIQ4NL;
extern const QuantDots kDotMXFP4;
extern const QuantDots kDotQ2K;
extern const QuantDots kDotQ3K;
extern const QuantDots kDotQ4K;
extern const QuantDots kDotQ5K;
extern const QuantDots kDotQ6K;
extern const QuantDots kDotIQ1S;
extern const QuantDots kDotIQ1M;
extern const QuantDots kDotIQ2XXS;
extern const QuantDots kDotIQ2XS;
extern const QuantDots kDotIQ2S;
extern const QuantDots kDotIQ3XXS;
extern const QuantDots kDotIQ3S;
extern const QuantDots kDotIQ4XS;

}  // namespace greenroom::cpu
