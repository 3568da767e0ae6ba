#pragma once

// The kernels of a format (dot_format.h) on every ISA.

#include "cpu/dot_packed_amx.h"
#include "cpu/dot_rows_avx2.h"
#include "cpu/dot_rows_avx512.h"
#include "cpu/dot_tile_avx2.h"
#include "cpu/dot_tile_avx512.h"
#include "quant/decode_block.h"

namespace greenroom::cpu {

template <class Block>
void dot_rows_scalar(const std::byte* rows, std::int64_t row_bytes, int n_rows, const ActivationBlock* x,
                     Planes planes, std::int64_t n_values, float* out) noexcept {
    for (int r = 0; r < n_rows; ++r) {
        double sum = 0;
        float w[Block::kValues];
        const auto* block = reinterpret_cast<const Block*>(rows + r * row_bytes);
        for (std::int64_t i = 0; i < n_values; ++block) {
            decode_block(*block, w);
            for (int j = 0; j < Block::kValues; ++j, ++i) {
                const ActivationBlock& a = x[i / ActivationBlock::kValues];
                const auto at = static_cast<int>(i % ActivationBlock::kValues);
                const int q = planes == Planes::both ? a.value(at) : 128 * a.planes[0][at];
                sum += static_cast<double>(w[j]) * a.scale * q;
            }
        }
        out[r] = static_cast<float>(sum);
    }
}

// A format whose kernels are to use AVX-512 VBMI.
template <class Format>
struct WithVbmi : Format {
    GR_AVX512_INLINE static void weights_avx512(const typename Format::Block* block, __m512i* w) noexcept {
        Format::weights_vbmi(block, w);
    }
};

// The format for a CPU with AVX-512 VBMI: as it is, where that adds nothing.
template <class Format>
constexpr auto on_vbmi() noexcept {
    if constexpr (requires { &Format::weights_vbmi; })
        return WithVbmi<Format>{};
    else
        return Format{};
}
template <class Format>
using OnVbmi = decltype(on_vbmi<Format>());

// The format for a core with AMX, see fetches_twice().
template <class Format>
struct OnAmx : OnVbmi<Format> {
    struct FetchesTwice {};
};

template <class Format>
constexpr QuantDots quant_dots() noexcept {
    return {{{dot_rows_scalar<typename Format::Block>},
             {dot_rows_avx2<Format>, dot_tile_avx2<Format>},
             {dot_rows_avx2<WithVnni<Format>>, dot_tile_avx2<WithVnni<Format>>},
             {dot_rows_avx512<Format>, dot_tile_avx512<Format>},
             {dot_rows_avx512<OnVbmi<Format>>, dot_tile_avx512<Format>},
             {dot_rows_avx512<OnAmx<Format>>, dot_tile_avx512<Format>, dot_packed_amx<OnAmx<Format>>}}};
}

}  // namespace greenroom::cpu
