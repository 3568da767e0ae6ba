#pragma once

// Dot products of quantized weights with activations in 8 bits: the kernel of each weight format and what all
// of them compute.
//
// Σ_i w[i]·x[i], summed in groups of 16, which share a scale of the weights and one of the activations:
//
//     lane[g mod 16] += (weight scale_g · activation scale_g) · Σ_{i in g} q_w·q_x       one fused product
//     lane[g mod 16] += minimum_g · (activation scale_g · Σ_{i in g} q_x)                where w has a
//     minimum
//
// with the inner sums exact in integers and the lanes added in a fixed order in the end. So a result depends
// on the row and the vector only, and AVX2 and AVX-512 give the same bits. The scalar reference decodes the
// block and accumulates in double.

#include "cpu/isa.h"
#include "cpu/quantize.h"
#include "quant/types.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

inline constexpr int kPanelRows = 16;
inline constexpr int kPanelVectors = 16;

// 256 values of each of the rows of a panel: weights (with the format's offset), four values of a row beside
// each other; and of each group of 16 the scale, and the minimum where the format has one.
struct alignas(64) PanelChunk {
    std::uint8_t weights[ActivationBlock::kValues / 4][kPanelRows][4];
    float scales[ActivationBlock::kGroups][kPanelRows];
    float minimums[ActivationBlock::kGroups][kPanelRows];
};

// out[j] = row · x[j] for j < 1, 2 or 4. row: n_values weights, a whole number of blocks, which need no
// alignment. Each out[j] has the same bits from all of them.
struct QuantDot {
    using Fn = void (*)(const std::byte* row, const ActivationBlock* const* x, std::int64_t n_values,
                        float* out) noexcept;
    Fn x1;
    Fn x2;
    Fn x4;

    // For many vectors: kPanelRows rows, row_bytes from one to the next, are laid out as a panel of
    // activation_blocks(n_values) chunks, which then meets up to kPanelVectors vectors at a time:
    // out[j · kPanelRows + r] = row r · x[j], the same bits again. nullptr where an ISA has none.
    using Pack = void (*)(const std::byte* rows, std::int64_t row_bytes, std::int64_t n_values,
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
