#pragma once

// The inner loops of attention (attention.h) over cached rows of F16 and BF16, converted to floats in
// registers: the bits of attention_kernels.h over decoded rows, without the way of these through memory.

#include "cpu/attention_kernels.h"
#include "quant/types.h"

#include <cstddef>
#include <cstdint>

namespace greenroom::cpu {

struct HalfAttention {
    // The keys of a block, of which a head reads n_values from rows[s] on. All positions have a row.
    // keys: [n_values / 2, kBlockPositions / 16, 2, 16], the last positions.
    void (*pack_keys)(std::uint16_t* keys, const std::byte* const* rows, std::int64_t n_values) noexcept;

    // As AttentionKernels::score().
    void (*score)(float* scores, const float* const* queries, int n_queries, const std::uint16_t* keys,
                  std::int64_t n_values, LinesAhead& ahead) noexcept;

    // As AttentionKernels::accumulate(), the values of position s from rows[s] on.
    void (*accumulate)(float* out, std::int64_t out_stride, const float* factors, int n_queries,
                       const float* weights, const std::byte* const* rows, BlockRange range,
                       std::int64_t n_values, LinesAhead& ahead) noexcept;
};

// The kernels for n_values of rows of a type, or nullptr where there are none: they are AVX-512's, for whole
// kValueStep.
const HalfAttention* find_half_attention(quant::Type type, std::int64_t n_values, Isa isa) noexcept;

}  // namespace greenroom::cpu
