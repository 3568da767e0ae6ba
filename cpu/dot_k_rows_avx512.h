#pragma once

// What QuantDot::dot_rows for AVX-512 (dot_rows_avx512.h) has of its own for Q4_K and Q5_K, super-blocks with
// groups of 32.
//
// Of 64 bytes of nibbles the low ones are groups 4h and 4h + 2, the high ones 4h + 1 and 4h + 3. So the
// activations stand in that order, and sums of four products each, which fit 16 bits, are packed to words:
// one product with the scales for 128 weights.

#include "cpu/dot_k_scales.h"
#include "cpu/dot_rows.h"

#include <array>
#include <cstdint>

namespace greenroom::cpu {

// 256 activations in that order.
template <int kPlanes>
struct alignas(64) ActivationPairs {
    std::int8_t planes[kPlanes][4][64];
    std::int16_t wide_sums[kPlanes][kUnits];

    template <class Format>
    GR_AVX512_INLINE void take(const ActivationBlock& x) noexcept {
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p) {
            GR_UNROLL
            for (int h = 0; h < 2; ++h) {
                const __m512i low = _mm512_load_si512(x.planes[p] + 128 * h);
                const __m512i high = _mm512_load_si512(x.planes[p] + 128 * h + 64);
                _mm512_store_si512(planes[p][2 * h], _mm512_shuffle_i64x2(low, high, 0x44));
                _mm512_store_si512(planes[p][2 * h + 1], _mm512_shuffle_i64x2(low, high, 0xee));
            }
            _mm_store_si128(reinterpret_cast<__m128i*>(wide_sums[p]),
                            _mm_load_si128(reinterpret_cast<const __m128i*>(x.wide_sums[p])));
        }
    }
};

// For groups 4h … 4h + 3 the scales of packed sums, one per word: indices for a byte shuffle.
struct PairScales {
    alignas(64) static constexpr auto kIndices = [] {
        std::array<std::array<std::uint16_t, 32>, 2> all{};
        for (unsigned h = 0; h < 2; ++h)
            for (unsigned word = 0; word < 32; ++word)
                all[h][word] = static_cast<std::uint16_t>((4 * h + word / 16 * 2 + word % 8 / 4) | 0x8000U);
        return all;
    }();
};

// The first 16 bytes of four blocks: d, dmin, scales and minimums.
class HeadersOfFour {
  public:
    template <class Block>
    GR_AVX512_INLINE explicit HeadersOfFour(const Block* const* blocks) noexcept {
        headers_ = _mm512_castsi128_si512(load(blocks[0]));
        headers_ = _mm512_inserti32x4(headers_, load(blocks[1]), 1);
        headers_ = _mm512_inserti32x4(headers_, load(blocks[2]), 2);
        headers_ = _mm512_inserti32x4(headers_, load(blocks[3]), 3);
        numbers_ = k_numbers_avx512(headers_);
        _mm512_store_si512(bytes_, numbers_);
    }

    // The scales of groups 4h … 4h + 3 of block r, for packed sums.
    GR_AVX512_INLINE __m512i scales(int r, std::size_t h) const noexcept {
        const __m128i bytes = _mm_load_si128(reinterpret_cast<const __m128i*>(bytes_ + 16 * r));
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(bytes),
                                   _mm512_load_si512(PairScales::kIndices[h].data()));
    }
    // d of each.
    GR_AVX512_INLINE __m128 factors() const noexcept { return floats<0x88>(); }
    // dmin of each.
    GR_AVX512_INLINE __m128 minimum_factors() const noexcept { return floats<0xdd>(); }
    // M of each.
    GR_AVX512_INLINE __m128i minimum_sums(const std::int16_t* wide_sums) const noexcept {
        const __m512i minimums = _mm512_unpackhi_epi8(numbers_, _mm512_setzero_si512());
        const __m512i sums =
            _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(wide_sums)));
        __m512i all = _mm512_madd_epi16(minimums, sums);
        all = _mm512_add_epi32(all, _mm512_shuffle_epi32(all, _MM_PERM_BADC));
        all = _mm512_add_epi32(all, _mm512_shuffle_epi32(all, _MM_PERM_CDAB));
        return first_of_lanes(all);
    }

  private:
    GR_AVX512_INLINE static __m128i load(const void* block) noexcept {
        return _mm_loadu_si128(static_cast<const __m128i*>(block));
    }
    GR_AVX512_INLINE static __m128i first_of_lanes(__m512i v) noexcept {
        const __m512i order = _mm512_castsi128_si512(_mm_setr_epi32(0, 4, 8, 12));
        return _mm512_castsi512_si128(_mm512_permutexvar_epi32(order, v));
    }
    // Every other float16 of the first two.
    template <int kOrder>
    GR_AVX512_INLINE __m128 floats() const noexcept {
        const __m256 both = _mm256_cvtph_ps(first_of_lanes(headers_));
        return _mm_shuffle_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1), kOrder);
    }

    __m512i headers_;
    __m512i numbers_;
    alignas(64) std::uint8_t bytes_[16 * kFour];
};

// Sums of four products of bytes each.
GR_AVX512_INLINE __m512i quad_sums(__m512i weights, const std::int8_t* activations) noexcept {
    __m512i sums = _mm512_setzero_si512();
    add_byte_products_avx512(sums, weights, _mm512_load_si512(activations));
    return sums;
}

// What four blocks give. plane_scales: those of the activations.
template <class Format, int kPlanes>
GR_AVX512_INLINE FourTerms<Format, kPlanes> multiply_avx512(
    const FourChunks<Format, ActivationPairs<kPlanes>>& chunks, const __m128* plane_scales) noexcept {
    static_assert(Format::kOffset == 0 && 4 * Format::kLargest * 127 < 32768);
    const HeadersOfFour headers(chunks.blocks);
    const ActivationPairs<kPlanes>& x = *chunks.x;
    __m512i lanes[kPlanes][kFour];
    GR_UNROLL
    for (int r = 0; r < kFour; ++r) {
        chunks.fetch_ahead(r);
        __m512i w[4];
        Format::pairs_avx512(chunks.blocks[r], w);
        const __m512i scales[2] = {headers.scales(r, 0), headers.scales(r, 1)};
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p) {
            const auto* plane = x.planes[p];
            const __m512i low = _mm512_packs_epi32(quad_sums(w[0], plane[0]), quad_sums(w[1], plane[1]));
            const __m512i high = _mm512_packs_epi32(quad_sums(w[2], plane[2]), quad_sums(w[3], plane[3]));
            __m512i sum = _mm512_madd_epi16(low, scales[0]);
            add_products_avx512(sum, high, scales[1]);
            lanes[p][r] = sum;
        }
    }
    FourTerms<Format, kPlanes> terms;
    GR_UNROLL
    for (int p = 0; p < kPlanes; ++p) {
        terms.numbers[2 * p] = _mm_cvtepi32_ps(sum_lanes_of_four_avx512(lanes[p]));
        terms.factors[2 * p] = _mm_mul_ps(headers.factors(), plane_scales[p]);
        terms.numbers[2 * p + 1] = _mm_cvtepi32_ps(headers.minimum_sums(x.wide_sums[p]));
        terms.factors[2 * p + 1] = _mm_mul_ps(headers.minimum_factors(), plane_scales[p]);
    }
    return terms;
}

}  // namespace greenroom::cpu
