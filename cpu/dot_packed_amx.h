#pragma once

// The frame of the kernels for packed vectors (dot_quant.h) on AMX: QuantDot::dot_packed. 256 values of 32
// rows at a time become lines of bytes, which meet 16 vectors an instruction.
//
// Integer scales are multiplied into the weights, so that the sum over 256 values needs nothing in between:
// scale · weight is up to 15 bits long and becomes digits of a byte, whose sums are put together afterwards,
// exactly. Blocks with float scales are multiplied one by one.
//
// While the tiles multiply, what they gave before is scaled and added to the sums.

#include "cpu/amx_tiles.h"
#include "cpu/dot_format.h"
#include "cpu/dot_rows.h"
#include "cpu/dot_tile.h"
#include "cpu/packed_vectors.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

static_assert(PackedVectors::kVectors == kTileLines && kTileRows == 2 * kTileLines);

// scale · weight = radix · first digit + second digit, or a single digit.
template <class Format>
struct ScaledDigits {
    static constexpr int largest_scale() noexcept {
        if constexpr (requires { Format::kLargestScale; })
            return Format::kLargestScale;
        else
            return 0;  // not known, or negative ones
    }
    // The scale has digits, and a weight times one of those fits a byte.
    static constexpr bool kOfScale = largest_scale() > 0 && Format::kLargest * 7 <= 255;
    static constexpr int kDigits = kOfScale && Format::kLargest * largest_scale() <= 255 ? 1 : 2;
    static constexpr int kLogRadix = kOfScale ? 3 : 7;
    static constexpr bool kUnsigned = kOfScale;
    static_assert(!kOfScale || kDigits == 1 || largest_scale() < 64);
};

// 256 values of 32 rows.
struct alignas(64) AmxChunk {
    static constexpr int kHalves = 2;
    static constexpr int kSteps = ActivationBlock::kValues / kTileLine;

    std::uint8_t lines[2][kHalves][kSteps][kTileLines][kTileLine];  // [digit][…]
    std::int16_t integer_minimums[kTileRows][ActivationBlock::kGroups];
    float factors[2][kTileRows];        // of integers: d, −dmin
    float scales[kTileRows][kUnits];    // of blocks
    float minimums[kTileRows][kUnits];  // of blocks
};

// ---- Laying out ----

GR_AVX512_INLINE __m512i widened(__m128i words) noexcept { return _mm512_zextsi128_si512(words); }
GR_AVX512_INLINE __m512i widened(__m256i words) noexcept { return _mm512_zextsi256_si512(words); }

// For 64 values from number `step` on, in each 128-bit lane the number of their group to all words.
template <int kGroup>
GR_AVX512_INLINE __m512i groups_of_step(int step) noexcept {
    static constexpr auto kFirst = [] {
        struct alignas(64) {
            std::uint16_t words[32];
        } first{};
        for (int i = 0; i < 32; ++i) first.words[i] = static_cast<std::uint16_t>(i / 8 * 16 / kGroup);
        return first;
    }();
    return _mm512_add_epi16(_mm512_load_si512(&kFirst),
                            _mm512_set1_epi16(static_cast<short>(step * kTileLine / kGroup)));
}

// Digits of 64 weights times their scales, which are words of their 128-bit lane.
template <class Format>
GR_AVX512_INLINE void find_digits_avx512(__m512i weights, __m512i scales, __m512i* digits) noexcept {
    using Scaled = ScaledDigits<Format>;
    if constexpr (Scaled::kDigits == 1) {
        digits[0] = _mm512_mullo_epi16(weights, scales);  // no byte carries into the next
    } else if constexpr (Scaled::kOfScale) {
        digits[0] = _mm512_mullo_epi16(weights, _mm512_srli_epi16(scales, Scaled::kLogRadix));
        digits[1] = _mm512_mullo_epi16(
            weights, _mm512_and_si512(scales, _mm512_set1_epi16((1 << Scaled::kLogRadix) - 1)));
    } else {
        __m512i products[2];
        const __m512i offset = _mm512_set1_epi16(Format::kOffset);
        products[0] = _mm512_unpacklo_epi8(weights, _mm512_setzero_si512());
        products[1] = _mm512_unpackhi_epi8(weights, _mm512_setzero_si512());
        GR_UNROLL
        for (int h = 0; h < 2; ++h)
            products[h] = _mm512_mullo_epi16(_mm512_sub_epi16(products[h], offset), scales);
        digits[0] = _mm512_packs_epi16(_mm512_srai_epi16(products[0], Scaled::kLogRadix),
                                       _mm512_srai_epi16(products[1], Scaled::kLogRadix));
        const __m512i low = _mm512_set1_epi16((1 << Scaled::kLogRadix) - 1);
        digits[1] =
            _mm512_packs_epi16(_mm512_and_si512(products[0], low), _mm512_and_si512(products[1], low));
    }
}

// Row 16 · half + line.
template <class Format>
GR_AVX512_INLINE void lay_out_row_amx(const typename Format::Block* block, int half, int line,
                                      AmxChunk& chunk) noexcept {
    const int r = kTileLines * half + line;
    __m512i weights[AmxChunk::kSteps];
    Format::weights_avx512(block, weights);
    if constexpr (Format::kFloatScales) {
        // From halves of blocks to two blocks in a vector.
        const __m512i offset = _mm512_set1_epi8(static_cast<char>(Format::kOffset));
        const __m512i first = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
        const __m512i second = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
        GR_UNROLL
        for (int p = 0; p < AmxChunk::kSteps; p += 2) {
            const __m512i low = _mm512_sub_epi8(weights[p], offset);
            const __m512i high = _mm512_sub_epi8(weights[p + 1], offset);
            _mm512_store_si512(chunk.lines[0][half][p][line], _mm512_permutex2var_epi64(low, first, high));
            _mm512_store_si512(chunk.lines[0][half][p + 1][line],
                               _mm512_permutex2var_epi64(low, second, high));
        }
        _mm256_store_ps(chunk.scales[r], Format::scales(block));
        if constexpr (Format::kHasMin) _mm256_store_ps(chunk.minimums[r], Format::minimums(block));
    } else {
        const __m512i scales = widened(Format::scales(block));
        GR_UNROLL
        for (int step = 0; step < AmxChunk::kSteps; ++step) {
            __m512i digits[2];
            find_digits_avx512<Format>(weights[step],
                                       _mm512_permutexvar_epi16(groups_of_step<Format::kGroup>(step), scales),
                                       digits);
            GR_UNROLL
            for (int digit = 0; digit < ScaledDigits<Format>::kDigits; ++digit)
                _mm512_store_si512(chunk.lines[digit][half][step][line], digits[digit]);
        }
        if constexpr (Format::kHasMin) store_words(chunk.integer_minimums[r], Format::minimums(block));
    }
}

template <class Format>
GR_AVX512 [[gnu::noinline]] void lay_out_amx(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                                             std::int64_t c, std::int64_t n_values,
                                             AmxChunk& chunk) noexcept {
    using Block = typename Format::Block;
    for (int half = 0; half < AmxChunk::kHalves; ++half) {
        Block last[kTileLines][kBlocksPerChunk<Format>];
        const Block* blocks[kTileLines];
        find_blocks<Format, kTileLines>(rows, row_bytes, n_rows, kTileLines * half, c, n_values, last,
                                        blocks);
        for (int line = 0; line < kTileLines; ++line)
            lay_out_row_amx<Format>(blocks[line], half, line, chunk);
        if constexpr (!Format::kFloatScales) {
            alignas(64) std::uint16_t factors[2][kTileLines];
            for (int line = 0; line < kTileLines; ++line) {
                factors[0][line] = Format::factor(blocks[line]);
                if constexpr (Format::kHasMin) factors[1][line] = Format::minimum_factor(blocks[line]);
            }
            _mm512_store_ps(chunk.factors[0] + kTileLines * half,
                            _mm512_mul_ps(halves_avx512(factors[0]), _mm512_set1_ps(unit_of<Format>())));
            if constexpr (Format::kHasMin)
                _mm512_store_ps(chunk.factors[1] + kTileLines * half,
                                _mm512_xor_ps(halves_avx512(factors[1]), _mm512_set1_ps(-0.0F)));
        }
    }
}

// ---- Multiplying ----

// What tiles give: numbers of 16 rows and 16 vectors.
using TileNumbersAmx = std::int32_t[kTileLines][PackedVectors::kVectors];

GR_AVX512_INLINE __m512 plane_scales_avx512(const PackedVectors& x, int plane) noexcept {
    const __m512 scales = _mm512_load_ps(reinterpret_cast<const float*>(x.scales()));
    return plane == 0 ? _mm512_mul_ps(scales, _mm512_set1_ps(128)) : scales;
}

// sums of rows [first, first + kN) += what the tiles gave of an integer format. products: [half][digit].
template <class Format, int kN>
GR_AVX512_INLINE void add_rows_amx(const TileNumbersAmx* products, const AmxChunk& chunk,
                                   const PackedVectors& x, int plane, int first,
                                   float (*sums)[PackedVectors::kVectors]) noexcept {
    using Scaled = ScaledDigits<Format>;
    constexpr int kPairs = kGroupsPerChunk<Format> / 2;
    const __m512 plane_scales = plane_scales_avx512(x, plane);
    __m512i pairs[kPairs];
    if constexpr (Format::kHasMin) {
        const auto* of_groups = Format::kGroup == 32 ? x.wide_sums(plane) : x.sums(plane);
        GR_UNROLL
        for (int p = 0; p < kPairs; ++p) pairs[p] = _mm512_load_si512(of_groups[p]);
    }
    const TileNumbersAmx* of_half = products + Scaled::kDigits * (first / kTileLines);
    GR_UNROLL
    for (int i = 0; i < kN; ++i) {
        const int r = first + i;
        __m512i total = _mm512_load_si512(of_half[0][r % kTileLines]);
        if constexpr (Scaled::kDigits == 2)
            total = _mm512_add_epi32(_mm512_slli_epi32(total, Scaled::kLogRadix),
                                     _mm512_load_si512(of_half[1][r % kTileLines]));
        __m512 sum = _mm512_load_ps(sums[r]);
        sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total),
                              _mm512_mul_ps(_mm512_set1_ps(chunk.factors[0][r]), plane_scales), sum);
        if constexpr (Format::kHasMin) {
            __m512i minimum = _mm512_setzero_si512();
            GR_UNROLL
            for (int p = 0; p < kPairs; ++p)
                add_products_avx512(minimum, pairs[p],
                                    _mm512_set1_epi32(lane_at(chunk.integer_minimums[r] + 2 * p)));
            sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(minimum),
                                  _mm512_mul_ps(_mm512_set1_ps(chunk.factors[1][r]), plane_scales), sum);
        }
        _mm512_store_ps(sums[r], sum);
    }
}

// What a chunk gives for one plane of n_groups times 16 vectors.
template <class Format>
GR_AVX512 [[gnu::noinline]] void add_plane_amx(const AmxChunk& chunk, const PackedVectors* x, int n_groups,
                                               int plane,
                                               float (*sums)[kTileRows][PackedVectors::kVectors]) noexcept {
    using Scaled = ScaledDigits<Format>;
    constexpr int kDigits = Scaled::kDigits;
    constexpr int kRowsPerStep = kTileRows / AmxChunk::kSteps;
    constexpr int kLeft = AmxTiles::kLeft;
    constexpr int kRight = AmxTiles::kRight;
    alignas(64) TileNumbersAmx products[2][AmxChunk::kHalves * kDigits];
    for (int g = 0; g <= n_groups; ++g) {
        if (g < n_groups) {
            AmxTiles::clear<0>();
            AmxTiles::clear<1>();
            if constexpr (kDigits == 2) {
                AmxTiles::clear<2>();
                AmxTiles::clear<3>();
            }
        }
        GR_UNROLL
        for (int step = 0; step < AmxChunk::kSteps; ++step) {
            if (g < n_groups) {
                constexpr bool kUnsigned = Scaled::kUnsigned;
                AmxTiles::load<kRight>(x[g].quads(plane) + kTileLines * step);
                AmxTiles::load<kLeft>(chunk.lines[0][0][step]);
                AmxTiles::add_products<0, kLeft, kRight, kUnsigned>();
                AmxTiles::load<kLeft + 1>(chunk.lines[0][1][step]);
                AmxTiles::add_products<kDigits, kLeft + 1, kRight, kUnsigned>();
                if constexpr (kDigits == 2) {
                    AmxTiles::load<kLeft>(chunk.lines[1][0][step]);
                    AmxTiles::add_products<1, kLeft, kRight, kUnsigned>();
                    AmxTiles::load<kLeft + 1>(chunk.lines[1][1][step]);
                    AmxTiles::add_products<3, kLeft + 1, kRight, kUnsigned>();
                }
            }
            if (g > 0)
                add_rows_amx<Format, kRowsPerStep>(products[(g - 1) % 2], chunk, x[g - 1], plane,
                                                   kRowsPerStep * step, sums[g - 1]);
        }
        if (g < n_groups) {
            AmxTiles::store<0>(products[g % 2][0]);
            AmxTiles::store<1>(products[g % 2][1]);
            if constexpr (kDigits == 2) {
                AmxTiles::store<2>(products[g % 2][2]);
                AmxTiles::store<3>(products[g % 2][3]);
            }
        }
    }
}

// Block u of 16 rows and 16 vectors: what it gives goes to memory. Two in turns have tiles of their own.
template <int kTurn>
GR_AVX512_INLINE void multiply_block_amx(const AmxChunk& chunk, int half, int u, const PackedVectors& x,
                                         int plane, TileNumbersAmx& products) noexcept {
    constexpr int kBlockBytes = ActivationBlock::kValues / kUnits;
    AmxTiles::clear<kTurn>();
    AmxTiles::load<AmxTiles::kRight + kTurn>(x.quads(plane) + kBlockBytes / 4 * u);
    AmxTiles::load<AmxTiles::kLeft + kTurn>(chunk.lines[0][half][u / 2][0] + kBlockBytes * (u % 2));
    AmxTiles::add_products<kTurn, AmxTiles::kLeft + kTurn, AmxTiles::kRight + kTurn, false>();
    AmxTiles::store<kTurn>(products);
}

// totals of 16 rows += scale of block u · what it gave.
GR_AVX512_INLINE void add_block_avx512(const TileNumbersAmx& products, const float (*scales)[kUnits], int u,
                                       __m512* totals) noexcept {
    GR_UNROLL
    for (int i = 0; i < kTileLines; ++i)
        totals[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(products[i])),
                                    _mm512_set1_ps(scales[i][u]), totals[i]);
}

// The sums of 32 activations: floats.
GR_AVX512_INLINE __m512 wide_sums_of_block(const PackedVectors& x, int plane, int u) noexcept {
    __m512i pair = _mm512_load_si512(x.wide_sums(plane)[u / 2]);
    if (u % 2 == 0) pair = _mm512_slli_epi32(pair, 16);
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(pair, 16));
}

// The same of blocks with float scales.
template <class Format>
GR_AVX512 [[gnu::noinline]] void add_blocks_amx(const AmxChunk& chunk, const PackedVectors& x, int n_blocks,
                                                int plane, float (*sums)[PackedVectors::kVectors]) noexcept {
    alignas(64) TileNumbersAmx products[2];
    const __m512 plane_scales = plane_scales_avx512(x, plane);
    for (int half = 0; half < AmxChunk::kHalves; ++half) {
        __m512 totals[kTileLines];
        GR_UNROLL
        for (int i = 0; i < kTileLines; ++i) totals[i] = _mm512_setzero_ps();
        const auto* scales = chunk.scales + kTileLines * half;
        multiply_block_amx<0>(chunk, half, 0, x, plane, products[0]);
        for (int u = 0; u < n_blocks; u += 2) {
            if (u + 1 < n_blocks) multiply_block_amx<1>(chunk, half, u + 1, x, plane, products[1]);
            add_block_avx512(products[0], scales, u, totals);
            if (u + 2 < n_blocks) multiply_block_amx<0>(chunk, half, u + 2, x, plane, products[0]);
            if (u + 1 < n_blocks) add_block_avx512(products[1], scales, u + 1, totals);
        }
        if constexpr (Format::kHasMin) {
            const auto* minimums = chunk.minimums + kTileLines * half;
            for (int u = 0; u < n_blocks; ++u) {
                const __m512 of_block = wide_sums_of_block(x, plane, u);
                GR_UNROLL
                for (int i = 0; i < kTileLines; ++i)
                    totals[i] = _mm512_fmadd_ps(of_block, _mm512_set1_ps(minimums[i][u]), totals[i]);
            }
        }
        GR_UNROLL
        for (int i = 0; i < kTileLines; ++i)
            add_scaled_avx512(sums[kTileLines * half + i], totals[i], plane_scales);
    }
}

// From sums by rows to sums by vectors, in place.
GR_AVX512_INLINE void turn_sums_avx512(float* sums) noexcept {
    __m512i halves[AmxChunk::kHalves][kTileLines];
    for (int half = 0; half < AmxChunk::kHalves; ++half) {
        GR_UNROLL
        for (int r = 0; r < kTileLines; ++r)
            halves[half][r] = _mm512_load_si512(sums + (kTileLines * half + r) * PackedVectors::kVectors);
        transpose_avx512(halves[half]);
    }
    for (int half = 0; half < AmxChunk::kHalves; ++half)
        for (int j = 0; j < PackedVectors::kVectors; ++j)
            _mm512_store_si512(sums + j * kTileRows + kTileLines * half, halves[half][j]);
}

template <class Format>
GR_AVX512 void dot_packed_amx(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                              const PackedVectors* packed, int n_vectors, Planes planes,
                              std::int64_t n_values, float* out) noexcept {
    const AmxTiles tiles(Format::kFloatScales ? ActivationBlock::kValues / kUnits : kTileLine);
    const int n_groups = packed_groups(n_vectors);
    auto* sums = reinterpret_cast<float(*)[kTileRows][PackedVectors::kVectors]>(out);
    std::memset(static_cast<void*>(out), 0, static_cast<std::size_t>(n_groups) * sizeof sums[0]);
    AmxChunk chunk;
    const std::int64_t n_chunks = activation_blocks(n_values);
    for (std::int64_t c = 0; c < n_chunks; ++c, packed += n_groups) {
        lay_out_amx<Format>(rows, row_bytes, n_rows, c, n_values, chunk);
        NextChunk<Format>(rows, row_bytes, n_rows, c, n_chunks, 1).fetch_part();
        for (int plane = 0; plane < n_planes(planes); ++plane) {
            if constexpr (Format::kFloatScales)
                for (int g = 0; g < n_groups; ++g)
                    add_blocks_amx<Format>(chunk, packed[g], groups_of_chunk<Format>(c, n_values), plane,
                                           sums[g]);
            else
                add_plane_amx<Format>(chunk, packed, n_groups, plane, sums);
        }
    }
    for (int g = 0; g < n_groups; ++g) turn_sums_avx512(out + g * PackedVectors::kVectors * kTileRows);
}

}  // namespace greenroom::cpu
