#pragma once

// The inner loops of attention (attention.h) over cached rows of Q8_0 and Q4_0: products of integers with the
// blocks as they are, where attention_kernels.h would decode them to floats first.
//
// Queries are integers of 15 bits (quantize.h). With d_u the scale and q_i the integers of 32 values u of a
// key, and x_i and `scale` those of a query,
//
//     T_u = Σ_{i in u} q_i · x_i,        score += scale · Σ_u d_u · T_u for the u of each 256 values, from 0
//     on
//
// and with d_u,s and q_s,i those of the value of position s, for the positions of a block that a query sees,
//
//     y_s = weight_s · d_u,s,  e = the largest |y_s| / 32767,  w_s = the integer next to y_s / e
//     out_i ← factor · out_i + e · Σ_s w_s · q_s,i           (e < 2^-115 adds nothing)
//
// Sums of integers are exact, T_u and each sum after a product are rounded once, so what a query gets depends
// neither on the other queries of its tile nor on the order of the work. The errors, at most 2^-15 of the
// largest |x| of 256 and 2^-16 of the largest |y| of 64, are far below those of 8 bits in the cache. The
// scalar kernels, the reference, sum up in double and do not round weights. An ISA that has none decodes rows
// to floats.

#include "cpu/attention_kernels.h"
#include "cpu/quantize.h"
#include "quant/types.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

// 32 values of the keys of a block, q_i + 128: in the lanes of a vector four values of 16 positions. Q4_0 has
// 16 · q_i, and its scales a 16th.
struct alignas(64) PackedKeys {
    static constexpr int kValues = 32;
    static constexpr int kGroup = 4;  // values that lie beside each other
    float scales[kBlockPositions];
    std::uint8_t values[kValues / kGroup][kBlockPositions][kGroup];
};

struct QuantAttention {
    // The keys of a block, of which a head reads n_values, a multiple of 32, from rows[s] on. All positions
    // have a row here and below; what one holds that no query sees makes no difference.
    void (*pack_keys)(PackedKeys* keys, const std::byte* const* rows, std::int64_t n_values) noexcept;

    // scores[j][s] of all positions of a block. scores: [n_queries, kBlockPositions].
    void (*score)(float* scores, const ActivationBlock* const* queries, int n_queries, const PackedKeys* keys,
                  std::int64_t n_values, LinesAhead& ahead) noexcept;

    // out[j] ← factors[j] · out[j] + Σ_s weights[j][s] · values[s], the s of ranges[j]; nothing where that is
    // empty. Rows of out are out_stride apart, of weights kBlockPositions. `all` has all of the ranges.
    void (*accumulate)(float* out, std::int64_t out_stride, const float* factors, const BlockRange* ranges,
                       BlockRange all, int n_queries, const float* weights, const std::byte* const* rows,
                       std::int64_t n_values, LinesAhead& ahead) noexcept;
};

// The kernels for rows of a type, or nullptr where there are none.
const QuantAttention* find_quant_attention(quant::Type type, Isa isa) noexcept;

// What attention_quant_keys.cpp has for these; attention_quant_values.cpp has the values and the table.
void pack_keys_q8_0_scalar(PackedKeys* keys, const std::byte* const* rows, std::int64_t n_values) noexcept;
void pack_keys_q8_0_avx512(PackedKeys* keys, const std::byte* const* rows, std::int64_t n_values) noexcept;
void pack_keys_q4_0_scalar(PackedKeys* keys, const std::byte* const* rows, std::int64_t n_values) noexcept;
void pack_keys_q4_0_avx512(PackedKeys* keys, const std::byte* const* rows, std::int64_t n_values) noexcept;

void score_quant_scalar(float* scores, const ActivationBlock* const* queries, int n_queries,
                        const PackedKeys* keys, std::int64_t n_values, LinesAhead& ahead) noexcept;
void score_quant_avx512(float* scores, const ActivationBlock* const* queries, int n_queries,
                        const PackedKeys* keys, std::int64_t n_values, LinesAhead& ahead) noexcept;

}  // namespace greenroom::cpu
