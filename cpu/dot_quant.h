#pragma once

// Dot products of quantized weights with quantized activations: the kernels of each weight format and what
// all of them compute.
//
// Per block of 256 activations (quantize.h), which have one scale, the products are summed exactly, in
// integers, over as many weights as 32 bits hold, a unit: with the super-blocks' integer scales
//
//     T_u = Σ_{i in unit u} weight scale_{group of i} · q_w,i · q_x,i      256 weights of Q2_K, Q3_K and
//     Q4_K,
//                                                                          128 of Q5_K, 64 of Q6_K
//     M   = Σ_i minimum_{group of i} · q_x,i
//
// and 32, a block, for formats with float scales, of which IQ4_XS is counted as one. Then, one after the
// other,
//
//     sum += (d · scale) · T_u    for each u;      sum += (−dmin · scale) · M
//
// or, with float scales, sum += (d_u · scale) · T_u; sum += (m_u · scale) · Σ_{i in u} q_x,i for each u. Each
// line is a fused product with one rounding, the factor in brackets another. As all else is exact, a result
// depends on the row and the vector only, and every SIMD kernel has the same bits, however it goes about it.
// The scalar reference decodes the block and accumulates in double.
//
// Two ways to go about it: a row at a time, straight from its blocks, where the weights come from memory for
// few vectors; and for many a panel (dot_panel.h), for which the rows are laid out anew.

#include "cpu/isa.h"
#include "cpu/quantize.h"
#include "quant/types.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

// Rows that a kernel takes at a time.
inline constexpr int kTileRows = 32;

// 256 values of each of the rows of a tile, for multiplying pairs of 16-bit numbers: weights, times their
// integer scale where there is one, two values of a row beside each other; and what a format has of scales
// (d or those of the 8 blocks) and minimums (of blocks; or −dmin, and the integers in pairs of groups).
struct alignas(64) PanelChunk {
    static constexpr int kUnits = 8;
    std::int16_t weights[ActivationBlock::kValues / 2][kTileRows][2];
    float scales[kUnits][kTileRows];
    float minimums[kUnits][kTileRows];
    std::int16_t integer_minimums[ActivationBlock::kGroups / 2][kTileRows][2];
};

struct QuantDot {
    // out[r] = row r · x for r < n_rows <= kTileRows. rows: n_values weights each, a whole number of blocks,
    // which need no alignment, row_bytes from one to the next.
    using DotRows = void (*)(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                             const ActivationBlock* x, std::int64_t n_values, float* out) noexcept;
    DotRows dot_rows;

    // The same rows as a panel of activation_blocks(n_values) chunks, those from n_rows on as zeros; and
    // out[j · kTileRows + r] = row r · x[j] for j < n_vectors. nullptr where an ISA has none.
    using Pack = void (*)(const std::byte* rows, std::int64_t row_bytes, int n_rows, std::int64_t n_values,
                          PanelChunk* panel) noexcept;
    using DotPanel = void (*)(const PanelChunk* panel, const ActivationBlock* const* x, int n_vectors,
                              std::int64_t n_values, float* out) noexcept;
    Pack pack = nullptr;
    DotPanel dot_panel = nullptr;
};

// By ISA.
using QuantDots = std::array<QuantDot, 3>;

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
extern const QuantDots kDotIQ4XS;

}  // namespace greenroom::cpu
