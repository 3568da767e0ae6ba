#pragma once

// The frame of the kernels in dot_quant.h: everything but the format. A format is a struct of
//
//     using Block                    its block in quant/blocks.h
//     kGroup                         32 or 16: values that share a scale
//     kOffset                        what weights() has added to each weight to make it unsigned
//     kSignedAvx2                    weights_avx2() gives signed weights without the offset (full 8-bit
//     range) kHasMin                        there is a minimum per group weights_avx2(block, w)         the
//     256 weights from block on, in order, as 8 vectors of bytes weights_avx512(block, w)       the same as 4
//     vectors scales(block, s)               their 8 or 16 scales as 1 or 2 vectors minimums(block, m)
//     likewise what is added to every weight of a group
//
// for 256 values at a time: one super-block, or 8 blocks of 32. A row may end in fewer of the latter; these
// are copied to zeroed blocks first, and meet activations that are zero from there on.

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

// The sums of the groups of 32: out[i] = Σ p[i].
GR_AVX2_INLINE __m256i sum_groups_of_32_avx2(const __m256i* p) noexcept {
    const __m256i low = _mm256_hadd_epi32(_mm256_hadd_epi32(p[0], p[1]), _mm256_hadd_epi32(p[2], p[3]));
    const __m256i high = _mm256_hadd_epi32(_mm256_hadd_epi32(p[4], p[5]), _mm256_hadd_epi32(p[6], p[7]));
    return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                            _mm256_permute2x128_si256(low, high, 0x31));
}

// The sums of four vectors' halves, in order: out[2i] = Σ lower half of p[i], out[2i + 1] = Σ upper half.
GR_AVX2_INLINE __m256i sum_groups_of_16_avx2(const __m256i* p) noexcept {
    const __m256i sums = _mm256_hadd_epi32(_mm256_hadd_epi32(p[0], p[1]), _mm256_hadd_epi32(p[2], p[3]));
    return _mm256_permutevar8x32_epi32(sums, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

// factor · Σq of each group. Groups of 32: the sums of 16 in pairs. 16 bits hold the factor.
GR_AVX2_INLINE __m256i scaled_sums_of_32(const std::int16_t* sums, int factor) noexcept {
    const __m256i all = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums));
    return _mm256_madd_epi16(all, _mm256_set1_epi16(static_cast<std::int16_t>(factor)));
}
// Groups of 16: eight of them. The upper half of each widened sum meets a zero.
GR_AVX2_INLINE __m256i scaled_sums_of_16(const std::int16_t* sums, int factor) noexcept {
    const __m128i eight = _mm_load_si128(reinterpret_cast<const __m128i*>(sums));
    return _mm256_madd_epi16(_mm256_cvtepi16_epi32(eight), _mm256_set1_epi32(factor));
}

template <class Format, int kN>
GR_AVX2_INLINE void add_chunk_avx2(const typename Format::Block* block, const ActivationBlock* const* x,
                                   std::int64_t chunk, __m256 (*lanes)[32 / Format::kGroup]) noexcept {
    constexpr int kVectors8 = 32 / Format::kGroup;  // vectors of 8 groups
    __m256i w[8];
    Format::weights_avx2(block, w);
    __m256 scales[kVectors8];
    Format::scales(block, scales);
    __m256 minimums[kVectors8];
    if constexpr (Format::kHasMin) Format::minimums(block, minimums);
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
        constexpr int kOffset = Format::kSignedAvx2 ? 0 : Format::kOffset;
        const __m256 a_scales = _mm256_load_ps(a.scales);
        if constexpr (Format::kGroup == 32) {
            __m256i sums = sum_groups_of_32_avx2(p);
            if constexpr (kOffset != 0) sums = _mm256_sub_epi32(sums, scaled_sums_of_32(a.sums, kOffset));
            lanes[j][0] =
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(scales[0], a_scales), lanes[j][0]);
            if constexpr (Format::kHasMin) {
                const __m256 total = _mm256_cvtepi32_ps(scaled_sums_of_32(a.sums, 1));
                lanes[j][0] = _mm256_fmadd_ps(minimums[0], _mm256_mul_ps(total, a_scales), lanes[j][0]);
            }
        } else {
            GR_UNROLL
            for (int half = 0; half < 2; ++half) {
                __m256i sums = sum_groups_of_16_avx2(p + 4 * half);
                if constexpr (kOffset != 0)
                    sums = _mm256_sub_epi32(sums, scaled_sums_of_16(a.sums + 8 * half, kOffset));
                // Two groups of 16 share a scale of the activations.
                const __m256i pairs = half == 0 ? _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)
                                                : _mm256_setr_epi32(4, 4, 5, 5, 6, 6, 7, 7);
                const __m256 a_scale = _mm256_permutevar8x32_ps(a_scales, pairs);
                lanes[j][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums),
                                                 _mm256_mul_ps(scales[half], a_scale), lanes[j][half]);
                if constexpr (Format::kHasMin) {
                    const __m256 total = _mm256_cvtepi32_ps(scaled_sums_of_16(a.sums + 8 * half, 1));
                    lanes[j][half] =
                        _mm256_fmadd_ps(minimums[half], _mm256_mul_ps(total, a_scale), lanes[j][half]);
                }
            }
        }
    }
}

template <class Format, int kN>
GR_AVX2 void dot_avx2(const std::byte* row, const ActivationBlock* const* x, std::int64_t n_values,
                      float* out) noexcept {
    using Block = typename Format::Block;
    constexpr int kBlocks = kChunk / Block::kValues;
    __m256 lanes[kN][32 / Format::kGroup];
    GR_UNROLL
    for (auto& of_vector : lanes) GR_UNROLL
    for (__m256& v : of_vector) v = _mm256_setzero_ps();
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
    for (int j = 0; j < kN; ++j) {
        __m256 sum = lanes[j][0];
        if constexpr (Format::kGroup == 16) sum = _mm256_add_ps(sum, lanes[j][1]);
        out[j] = sum_avx2(sum);
    }
}

// ---- AVX-512 ----

// Four vectors of 16 partial sums to one: element i of the result's 128-bit lane l is the sum of lane l of
// p[i].
GR_AVX512_INLINE __m512i sum_quarters_avx512(const __m512i* p) noexcept {
    const __m512i even =
        _mm512_add_epi32(_mm512_unpacklo_epi32(p[0], p[1]), _mm512_unpackhi_epi32(p[0], p[1]));
    const __m512i odd =
        _mm512_add_epi32(_mm512_unpacklo_epi32(p[2], p[3]), _mm512_unpackhi_epi32(p[2], p[3]));
    return _mm512_add_epi32(_mm512_unpacklo_epi64(even, odd), _mm512_unpackhi_epi64(even, odd));
}

// Sums of the eight groups of 32, in order.
GR_AVX512_INLINE __m256i sum_groups_of_32_avx512(const __m512i* p) noexcept {
    const __m512i order = _mm512_setr_epi32(0, 8, 1, 9, 2, 10, 3, 11, 4, 12, 5, 13, 6, 14, 7, 15);
    const __m512i halves = _mm512_permutexvar_epi32(order, sum_quarters_avx512(p));
    return _mm256_add_epi32(_mm512_castsi512_si256(halves), _mm512_maskz_extracti32x8_epi32(0xff, halves, 1));
}

// Sums of the sixteen groups of 16, in order.
GR_AVX512_INLINE __m512i sum_groups_of_16_avx512(const __m512i* p) noexcept {
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, sum_quarters_avx512(p));
}

GR_AVX512_INLINE __m512 join_avx512(const __m256* halves) noexcept {
    return _mm512_insertf32x8(_mm512_castps256_ps512(halves[0]), halves[1], 1);
}

template <class Format, int kN, class Lanes>
GR_AVX512_INLINE void add_chunk_avx512(const typename Format::Block* block, const ActivationBlock* const* x,
                                       std::int64_t chunk, Lanes* lanes) noexcept {
    __m512i w[4];
    Format::weights_avx512(block, w);
    __m256 scales[32 / Format::kGroup];
    Format::scales(block, scales);
    __m256 minimums[32 / Format::kGroup];
    if constexpr (Format::kHasMin) Format::minimums(block, minimums);
    GR_UNROLL
    for (int j = 0; j < kN; ++j) {
        const ActivationBlock& a = x[j][chunk];
        __m512i p[4];
        GR_UNROLL
        for (int i = 0; i < 4; ++i)
            p[i] = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w[i], _mm512_load_si512(a.q + 64 * i));
        const __m256 a_scales = _mm256_load_ps(a.scales);
        if constexpr (Format::kGroup == 32) {
            __m256i sums = sum_groups_of_32_avx512(p);
            if constexpr (Format::kOffset != 0)
                sums = _mm256_sub_epi32(sums, scaled_sums_of_32(a.sums, Format::kOffset));
            lanes[j] =
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), _mm256_mul_ps(scales[0], a_scales), lanes[j]);
            if constexpr (Format::kHasMin) {
                const __m256 total = _mm256_cvtepi32_ps(scaled_sums_of_32(a.sums, 1));
                lanes[j] = _mm256_fmadd_ps(minimums[0], _mm256_mul_ps(total, a_scales), lanes[j]);
            }
        } else {
            const __m512i a_sums =
                _mm512_cvtepi16_epi32(_mm256_load_si256(reinterpret_cast<const __m256i*>(a.sums)));
            __m512i sums = sum_groups_of_16_avx512(p);
            if constexpr (Format::kOffset != 0)
                sums = _mm512_sub_epi32(sums, _mm512_madd_epi16(a_sums, _mm512_set1_epi32(Format::kOffset)));
            const __m512i pairs = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
            const __m512 a_scale = _mm512_permutexvar_ps(pairs, _mm512_castps256_ps512(a_scales));
            lanes[j] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums), _mm512_mul_ps(join_avx512(scales), a_scale),
                                       lanes[j]);
            if constexpr (Format::kHasMin)
                lanes[j] = _mm512_fmadd_ps(join_avx512(minimums),
                                           _mm512_mul_ps(_mm512_cvtepi32_ps(a_sums), a_scale), lanes[j]);
        }
    }
}

GR_AVX512_INLINE void set_zero(__m256& v) noexcept { v = _mm256_setzero_ps(); }
GR_AVX512_INLINE void set_zero(__m512& v) noexcept { v = _mm512_setzero_ps(); }
GR_AVX512_INLINE float sum_lanes(__m256 v) noexcept { return sum_avx2(v); }
GR_AVX512_INLINE float sum_lanes(__m512 v) noexcept { return sum_avx512(v); }

template <int kGroup>
struct LanesAvx512;
template <>
struct LanesAvx512<32> {
    using Type = __m256;
};
template <>
struct LanesAvx512<16> {
    using Type = __m512;
};

template <class Format, int kN>
GR_AVX512 void dot_avx512(const std::byte* row, const ActivationBlock* const* x, std::int64_t n_values,
                          float* out) noexcept {
    using Block = typename Format::Block;
    constexpr int kBlocks = kChunk / Block::kValues;
    typename LanesAvx512<Format::kGroup>::Type lanes[kN];
    GR_UNROLL
    for (auto& v : lanes) set_zero(v);
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
    for (int j = 0; j < kN; ++j) out[j] = sum_lanes(lanes[j]);
}

template <class Format>
constexpr QuantDots quant_dots() noexcept {
    return {{{dot_scalar<Format, 1>, dot_scalar<Format, 4>},
             {dot_avx2<Format, 1>, dot_avx2<Format, 4>},
             {dot_avx512<Format, 1>, dot_avx512<Format, 4>}}};
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
