#pragma once

// The frame of the kernels in dot_quant.h: everything but the format. A format is a struct of
//
//     using Block                    its block in quant/blocks.h
//     kGroup                         32 or 16: weights that share a scale
//     kOffset                        what weights() has added to each weight to make it unsigned
//     kSignedAvx2                    weights_avx2() gives signed weights without the offset (full 8-bit
//     range) kHasMin                        there is a minimum per group weights_avx2(block, w)         the
//     256 weights from block on, in order, as 8 vectors of bytes weights_avx512(block, w)       the same as 4
//     vectors scales(block, s)               their 8 or 16 scales as 1 or 2 vectors minimums(block, m)
//     likewise what is added to every weight of a group
//
// for 256 values at a time: one super-block, or 8 blocks of 32. A row may end in fewer of the latter; these
// are copied to zeroed blocks first, and meet activations that are zero from there on.

#include "cpu/dot_panel_simd.h"
#include "cpu/dot_quant.h"
#include "cpu/simd.h"
#include "quant/decode_block.h"
#include "quant/half.h"

#include <cstring>

namespace greenroom::cpu {

inline constexpr int kChunk = ActivationBlock::kValues;

// ---- Scalar ----

template <class Block>
float dot_reference(const std::byte* row, const ActivationBlock* x, std::int64_t n_values) noexcept {
    double sum = 0;
    float w[Block::kValues];
    const auto* block = reinterpret_cast<const Block*>(row);
    for (std::int64_t i = 0; i < n_values; ++block) {
        decode_block(*block, w);
        for (int j = 0; j < Block::kValues; ++j, ++i) {
            const ActivationBlock& a = x[i / kChunk];
            const auto at = i % kChunk;
            sum += static_cast<double>(w[j]) * a.scales[at / ActivationBlock::kGroup] * a.q[at];
        }
    }
    return static_cast<float>(sum);
}

template <class Format, int kN>
void dot_scalar(const std::byte* row, const ActivationBlock* const* x, std::int64_t n_values,
                float* out) noexcept {
    for (int j = 0; j < kN; ++j) out[j] = dot_reference<typename Format::Block>(row, x[j], n_values);
}

// ---- AVX2 ----

// The sums of four vectors' halves, in order: out[2i] = Σ lower half of p[i], out[2i + 1] = Σ upper half.
GR_AVX2_INLINE __m256i sum_halves_avx2(const __m256i* p) noexcept {
    const __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(p[0], p[1]), _mm256_hadd_epi32(p[2], p[3]));
    return _mm256_permutevar8x32_epi32(sums, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// The numbers (scales or minimums) of 16 groups of 16, from those of the format's groups.
template <int kGroup>
GR_AVX2_INLINE void spread_avx2(const __m256* numbers, __m256* out) noexcept {
    if constexpr (kGroup == 16) {
        out[0] = numbers[0];
        out[1] = numbers[1];
    } else {
        out[0] = _mm256_permutevar8x32_ps(numbers[0], _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3));
        out[1] = _mm256_permutevar8x32_ps(numbers[0], _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7));
    }
}

template <class Format, int kN>
GR_AVX2_INLINE void add_chunk_avx2(const typename Format::Block* block, const ActivationBlock* const* x,
                                   std::int64_t chunk, __m256 (*lanes)[2]) noexcept {
    constexpr int kOffset = Format::kSignedAvx2 ? 0 : Format::kOffset;
    __m256i w[8];
    Format::weights_avx2(block, w);
    __m256 of_format[2];
    __m256 scales[2];
    Format::scales(block, of_format);
    spread_avx2<Format::kGroup>(of_format, scales);
    __m256 minimums[2];
    if constexpr (Format::kHasMin) {
        Format::minimums(block, of_format);
        spread_avx2<Format::kGroup>(of_format, minimums);
    }
    const __m256i ones = _mm256_set1_epi16(1);
    GR_UNROLL
    for (int j = 0; j < kN; ++j) {
        const ActivationBlock& a = x[j][chunk];
        __m256i p[8];
        GR_UNROLL
        for (int i = 0; i < 8; ++i) {
            const __m256i q = _mm256_load_si256(reinterpret_cast<const __m256i*>(a.q + 32 * i));
            // Bytes are multiplied unsigned by signed; pairs must not leave 16 bits, which |w| <= 128 and
            // |q| <= 127 grant. A signed weight gives its sign to q.
            if constexpr (Format::kSignedAvx2)
                p[i] = _mm256_maddubs_epi16(_mm256_abs_epi8(w[i]), _mm256_sign_epi8(q, w[i]));
            else
                p[i] = _mm256_maddubs_epi16(w[i], q);
            p[i] = _mm256_madd_epi16(p[i], ones);
        }
        GR_UNROLL
        for (int half = 0; half < 2; ++half) {
            const __m256i a_sums =
                _mm256_cvtepi16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(a.sums + 8 * half)));
            const __m256 a_scales = _mm256_load_ps(a.scales + 8 * half);
            __m256i sums = sum_halves_avx2(p + 4 * half);
            // The upper half of a widened sum meets a zero.
            if constexpr (kOffset != 0)
                sums = _mm256_sub_epi32(sums, _mm256_madd_epi16(a_sums, _mm256_set1_epi32(kOffset)));
            lanes[j][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(scales[half], a_scales),
                                             lanes[j][half]);
            if constexpr (Format::kHasMin)
                lanes[j][half] = _mm256_fmadd_ps(
                    minimums[half], _mm256_mul_ps(_mm256_cvtepi32_ps(a_sums), a_scales), lanes[j][half]);
        }
    }
}

template <class Format, int kN>
GR_AVX2 void dot_avx2(const std::byte* row, const ActivationBlock* const* x, std::int64_t n_values,
                      float* out) noexcept {
    using Block = typename Format::Block;
    constexpr int kBlocks = kChunk / Block::kValues;
    __m256 lanes[kN][2];
    GR_UNROLL
    for (int j = 0; j < kN; ++j) lanes[j][0] = lanes[j][1] = _mm256_setzero_ps();
    const auto* block = reinterpret_cast<const Block*>(row);
    const std::int64_t n_whole = n_values / kChunk;
    for (std::int64_t c = 0; c < n_whole; ++c, block += kBlocks)
        add_chunk_avx2<Format, kN>(block, x, c, lanes);
    if constexpr (kBlocks > 1) {
        if (const auto rest = static_cast<std::size_t>(n_values % kChunk); rest != 0) {
            Block last[kBlocks] = {};
            std::memcpy(last, block, rest / Block::kValues * sizeof(Block));
            add_chunk_avx2<Format, kN>(last, x, n_whole, lanes);
        }
    }
    GR_UNROLL
    for (int j = 0; j < kN; ++j) out[j] = sum_avx2(_mm256_add_ps(lanes[j][0], lanes[j][1]));
}

// ---- AVX-512 ----

// The sums of four vectors' quarters, in order: out[4i + l] = Σ 128-bit lane l of p[i].
GR_AVX512_INLINE __m512i sum_quarters_avx512(const __m512i* p) noexcept {
    const __m512i even =
        _mm512_add_epi32(_mm512_unpacklo_epi32(p[0], p[1]), _mm512_unpackhi_epi32(p[0], p[1]));
    const __m512i odd =
        _mm512_add_epi32(_mm512_unpacklo_epi32(p[2], p[3]), _mm512_unpackhi_epi32(p[2], p[3]));
    // Element i of lane l: the sum of lane l of p[i].
    const __m512i sums = _mm512_add_epi32(_mm512_unpacklo_epi64(even, odd), _mm512_unpackhi_epi64(even, odd));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, sums);
}

template <class Format, int kN>
GR_AVX512_INLINE void add_chunk_avx512(const typename Format::Block* block, const ActivationBlock* const* x,
                                       std::int64_t chunk, __m512* lanes) noexcept {
    __m512i w[4];
    Format::weights_avx512(block, w);
    __m256 of_format[2];
    Format::scales(block, of_format);
    const __m512 scales = spread_avx512<Format::kGroup>(of_format);
    __m512 minimums;
    if constexpr (Format::kHasMin) {
        Format::minimums(block, of_format);
        minimums = spread_avx512<Format::kGroup>(of_format);
    }
    GR_UNROLL
    for (int j = 0; j < kN; ++j) {
        const ActivationBlock& a = x[j][chunk];
        __m512i p[4];
        GR_UNROLL
        for (int i = 0; i < 4; ++i)
            p[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w[i], _mm512_load_si512(a.q + 64 * i));
        const __m512i a_sums =
            _mm512_cvtepi16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(a.sums)));
        const __m512 a_scales = _mm512_load_ps(a.scales);
        __m512i sums = sum_quarters_avx512(p);
        if constexpr (Format::kOffset != 0)
            sums = _mm512_sub_epi32(sums, _mm512_madd_epi16(a_sums, _mm512_set1_epi32(Format::kOffset)));
        lanes[j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_mul_ps(scales, a_scales), lanes[j]);
        if constexpr (Format::kHasMin)
            lanes[j] =
                _mm512_fmadd_ps(minimums, _mm512_mul_ps(_mm512_cvtepi32_ps(a_sums), a_scales), lanes[j]);
    }
}

template <class Format, int kN>
GR_AVX512 void dot_avx512(const std::byte* row, const ActivationBlock* const* x, std::int64_t n_values,
                          float* out) noexcept {
    using Block = typename Format::Block;
    constexpr int kBlocks = kChunk / Block::kValues;
    __m512 lanes[kN];
    GR_UNROLL
    for (int j = 0; j < kN; ++j) lanes[j] = _mm512_setzero_ps();
    const auto* block = reinterpret_cast<const Block*>(row);
    const std::int64_t n_whole = n_values / kChunk;
    for (std::int64_t c = 0; c < n_whole; ++c, block += kBlocks)
        add_chunk_avx512<Format, kN>(block, x, c, lanes);
    if constexpr (kBlocks > 1) {
        if (const auto rest = static_cast<std::size_t>(n_values % kChunk); rest != 0) {
            Block last[kBlocks] = {};
            std::memcpy(last, block, rest / Block::kValues * sizeof(Block));
            add_chunk_avx512<Format, kN>(last, x, n_whole, lanes);
        }
    }
    GR_UNROLL
    for (int j = 0; j < kN; ++j) out[j] = sum_avx512(lanes[j]);
}

template <class Format>
constexpr QuantDots quant_dots() noexcept {
    return {{{dot_scalar<Format, 1>, dot_scalar<Format, 2>, dot_scalar<Format, 4>},
             {dot_avx2<Format, 1>, dot_avx2<Format, 2>, dot_avx2<Format, 4>},
             {dot_avx512<Format, 1>, dot_avx512<Format, 2>, dot_avx512<Format, 4>, pack_avx512<Format>,
              dot_panel_avx512<Format>}}};
}

// ---- Pieces of several formats ----

// 32 bytes twice.
GR_AVX512_INLINE __m512i twice_avx512(const std::uint8_t* bytes) noexcept {
    return _mm512_broadcast_i64x4(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
}

// One number for the lower and one for the upper 32 bytes.
GR_AVX512_INLINE __m512i by_half_epi16(short low, short high) noexcept {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set1_epi16(low)), _mm256_set1_epi16(high), 1);
}
GR_AVX512_INLINE __m512i by_half_epi32(int low, int high) noexcept {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_set1_epi32(low)), _mm256_set1_epi32(high), 1);
}

// Where mask has ones the bits of `bits`, else those of `base`, which has zeros there.
GR_AVX512_INLINE __m512i merge_bits_avx512(__m512i base, __m512i bits, __m512i mask) noexcept {
    return _mm512_ternarylogic_epi32(base, bits, mask, 0xf8);  // base | (bits & mask)
}

// 16 bytes to 32 nibbles, the low ones first. A shift of 32 bits serves: what it brings in from the byte
// above is masked away.
GR_AVX2_INLINE __m256i nibbles_avx2(const std::uint8_t* bytes) noexcept {
    const __m256i both =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)));
    const __m256i shifted = _mm256_srlv_epi32(both, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
    return _mm256_and_si256(shifted, _mm256_set1_epi8(0xf));
}

// The same for two blocks.
GR_AVX512_INLINE __m512i nibbles_avx512(const std::uint8_t* low, const std::uint8_t* high) noexcept {
    const __m512i first = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low)));
    const __m512i all =
        _mm512_mask_broadcast_i32x4(first, 0xff00, _mm_loadu_si128(reinterpret_cast<const __m128i*>(high)));
    const __m512i shift = _mm512_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4, 0, 0, 0, 0, 4, 4, 4, 4);
    return _mm512_and_si512(_mm512_srlv_epi32(all, shift), _mm512_set1_epi8(0xf));
}

// Bit `from` of every byte, moved to bit `to`. Call it with constants.
GR_AVX2_INLINE __m256i move_bit_avx2(__m256i bytes, int from, int to) noexcept {
    const __m256i bit = _mm256_and_si256(bytes, _mm256_set1_epi8(static_cast<char>(1 << from)));
    return to >= from ? _mm256_slli_epi16(bit, to - from) : _mm256_srli_epi16(bit, from - to);
}

// Eight float16 numbers that stand `offset` bytes from the start of eight blocks.
template <class Block>
GR_AVX2_INLINE __m256 gather_halves(const Block* blocks, std::size_t offset) noexcept {
    const auto* bytes = reinterpret_cast<const std::byte*>(blocks) + offset;
    std::uint64_t words[2];
    for (std::size_t h = 0; h < 2; ++h) {
        words[h] = 0;
        for (std::size_t i = 0; i < 4; ++i) {
            std::uint16_t half = 0;
            std::memcpy(&half, bytes + (4 * h + i) * sizeof(Block), sizeof half);
            words[h] |= std::uint64_t{half} << (16 * i);
        }
    }
    return _mm256_cvtph_ps(
        _mm_set_epi64x(static_cast<long long>(words[1]), static_cast<long long>(words[0])));
}

}  // namespace greenroom::cpu
