#pragma once

// QuantDot::dot_rows for AVX-512, see dot_rows.h.

#include "cpu/dot_k_rows_avx512.h"
#include "cpu/dot_rows.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace greenroom::cpu {

// For each 64 weights of groups of 16 their scales, one per word: indices for a byte shuffle of the 8 words
// that hold them.
struct ScaleWords {
    alignas(64) static constexpr auto kIndices = [] {
        std::array<std::array<std::uint16_t, 32>, 2> all{};
        for (unsigned i = 0; i < 2; ++i)
            for (unsigned word = 0; word < 32; ++word) {
                const unsigned group = 4 * i + word / 8;
                all[i][word] = static_cast<std::uint16_t>((2 * group) | (2 * group + 1) << 8);
            }
        return all;
    }();
};

// The scales of four super-blocks with groups of 16.
template <class Format>
class ScalesOfFour {
  public:
    using Block = typename Format::Block;

    GR_AVX512_INLINE explicit ScalesOfFour(const Block* const* blocks) noexcept {
        for (int r = 0; r < kFour; ++r)
            _mm256_store_si256(reinterpret_cast<__m256i*>(words_[r]), Format::scales(blocks[r]));
    }

    // Those of weights 64i … 64i + 63 of block r, one per word.
    GR_AVX512_INLINE __m512i spread(int r, std::size_t i) const noexcept {
        const __m128i eight = _mm_load_si128(reinterpret_cast<const __m128i*>(words_[r] + 8 * (i / 2)));
        return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(eight),
                                   _mm512_load_si512(ScaleWords::kIndices[i % 2].data()));
    }

    // What the accumulation of products with block r in 16 lanes begins with.
    GR_AVX512_INLINE __m512i first_lanes(int r, const ActivationBlock& x, int plane) const noexcept {
        if constexpr (Format::kOffset == 0)
            return _mm512_setzero_si512();
        else
            return _mm512_zextsi256_si512(offset_lanes<Format>(
                _mm256_load_si256(reinterpret_cast<const __m256i*>(words_[r])), x, plane));
    }

  private:
    alignas(32) std::int16_t words_[kFour][ActivationBlock::kGroups];
};

GR_AVX512_INLINE __m512i load_plane_avx512(const ActivationBlock& x, int plane, int i) noexcept {
    return _mm512_load_si512(x.planes[plane] + 64 * i);
}

// What four super-blocks with groups of 16 give. plane_scales: those of the activations.
template <class Format, int kPlanes>
GR_AVX512_INLINE FourTerms<Format, kPlanes> multiply_avx512(const FourChunks<Format, ActivationBlock>& chunks,
                                                            const __m128* plane_scales) noexcept {
    const ScalesOfFour<Format> scales(chunks.blocks);
    __m512i lanes[kPlanes][kFour];
    GR_UNROLL
    for (int r = 0; r < kFour; ++r) {
        chunks.fetch_ahead(r);
        const ActivationBlock& x = *chunks.x;
        __m512i w[4];
        Format::weights_avx512(chunks.blocks[r], w);
        __m512i sums[kPlanes];  // of their own: those in `lanes` g++ 12 would store for each row
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p) sums[p] = scales.first_lanes(r, x, p);
        GR_UNROLL
        for (int i = 0; i < 4; ++i) {
            const __m512i scale = scales.spread(r, static_cast<std::size_t>(i));
            GR_UNROLL
            for (int p = 0; p < kPlanes; ++p)
                add_products_avx512(sums[p], _mm512_maddubs_epi16(w[i], load_plane_avx512(x, p, i)), scale);
        }
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p) lanes[p][r] = sums[p];
    }
    FourTerms<Format, kPlanes> terms;
    GR_UNROLL
    for (int p = 0; p < kPlanes; ++p) {
        constexpr int kPerPlane = FourTerms<Format, kPlanes>::kPerPlane;
        terms.numbers[kPerPlane * p] = _mm_cvtepi32_ps(sum_lanes_of_four_avx512(lanes[p]));
        terms.factors[kPerPlane * p] = _mm_mul_ps(factors_of_four<Format>(chunks.blocks), plane_scales[p]);
        if constexpr (Format::kHasMin) {
            terms.numbers[2 * p + 1] =
                _mm_cvtepi32_ps(minimum_sums_of_four<Format>(chunks.blocks, *chunks.x, p));
            terms.factors[2 * p + 1] =
                _mm_mul_ps(minimum_factors_of_four<Format>(chunks.blocks), plane_scales[p]);
        }
    }
    return terms;
}

// 256 activations as blocks with float scales meet them, whose weights stand by halves of blocks
// (dot_format.h): a 128-bit lane has products of one block only, and all of them after two vectors.
template <int kPlanes>
struct alignas(64) ActivationHalves {
    std::int8_t planes[kPlanes][4][64];
    std::int32_t offsets[kPlanes][2][16];  // what the offset adds to the sums of blocks 4h + l: lanes 4l + r
    std::int16_t wide_sums[kPlanes][kUnits];

    template <class Format>
    GR_AVX512_INLINE void take(const ActivationBlock& x) noexcept {
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p) {
            const __m128i sums = _mm_load_si128(reinterpret_cast<const __m128i*>(x.wide_sums[p]));
            const __m512i of_blocks = _mm512_zextsi256_si512(
                _mm256_mullo_epi32(_mm256_cvtepi16_epi32(sums), _mm256_set1_epi32(Format::kOffset)));
            GR_UNROLL
            for (int h = 0; h < 2; ++h) {
                const __m512i low = load_plane_avx512(x, p, 2 * h);
                const __m512i high = load_plane_avx512(x, p, 2 * h + 1);
                _mm512_store_si512(planes[p][2 * h], _mm512_shuffle_i64x2(low, high, 0x88));
                _mm512_store_si512(planes[p][2 * h + 1], _mm512_shuffle_i64x2(low, high, 0xdd));
                const __m512i lane = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
                const __m512i order = _mm512_add_epi32(lane, _mm512_set1_epi32(4 * h));
                _mm512_store_si512(offsets[p][h], _mm512_permutexvar_epi32(order, of_blocks));
            }
            _mm_store_si128(reinterpret_cast<__m128i*>(wide_sums[p]), sums);
        }
    }
};

// The four 128-bit lanes.
GR_AVX512_INLINE void split_avx512(__m512 v, __m128* lanes) noexcept {
    lanes[0] = _mm512_castps512_ps128(v);
    lanes[1] = _mm512_extractf32x4_ps(v, 1);
    lanes[2] = _mm512_extractf32x4_ps(v, 2);
    lanes[3] = _mm512_extractf32x4_ps(v, 3);
}

// The scales and minimums of the blocks of four chunks.
template <class Format, int kPlanes>
GR_AVX512_INLINE void take_block_numbers(const typename Format::Block* const* chunks,
                                         BlockSums<Format, kPlanes>& sums) noexcept {
    __m512 numbers[2];
    Format::scales_of_four_avx512(chunks, numbers);
    GR_UNROLL
    for (int h = 0; h < 2; ++h) split_avx512(numbers[h], sums.scales + 4 * h);
    if constexpr (Format::kHasMin) {
        Format::minimums_of_four_avx512(chunks, numbers);
        GR_UNROLL
        for (int h = 0; h < 2; ++h) split_avx512(numbers[h], sums.minimums + 4 * h);
    }
}

// The same of four chunks of blocks with float scales.
template <class Format, int kPlanes>
GR_AVX512_INLINE FourTerms<Format, kPlanes> multiply_avx512(
    const FourChunks<Format, ActivationHalves<kPlanes>>& chunks, const __m128* plane_scales) noexcept {
    // Headers that come with the weights are taken first: the vectors are still there then. (With two planes
    // there are not enough of them.)
    constexpr bool kHeadersFirst = kPlanes == 1 && kLanesReachHeaders<typename Format::Block>;
    BlockSums<Format, kPlanes> sums;
    if constexpr (kHeadersFirst) take_block_numbers(chunks.blocks, sums);
    __m512i lanes[kPlanes][2][kFour];
    GR_UNROLL
    for (int r = 0; r < kFour; ++r) {
        chunks.fetch_ahead(r);
        const ActivationHalves<kPlanes>& x = *chunks.x;
        __m512i w[4];
        Format::weights_avx512(chunks.blocks[r], w);
        GR_UNROLL
        for (int p = 0; p < kPlanes; ++p) GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            // A variable of its own: sums in the array g++ 12 would store for each row.
            __m512i sum = _mm512_setzero_si512();
            add_byte_products_avx512(sum, w[2 * h], x.planes[p][2 * h]);
            add_byte_products_avx512(sum, w[2 * h + 1], x.planes[p][2 * h + 1]);
            lanes[p][h][r] = sum;
        }
    }
    if constexpr (!kHeadersFirst) take_block_numbers(chunks.blocks, sums);
    FourTerms<Format, kPlanes> terms;
    GR_UNROLL
    for (int p = 0; p < kPlanes; ++p) {
        // Sums of blocks 4h + l of chunk r in lane 4l + r.
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            __m512i of_blocks = sum_quads_avx512(lanes[p][h]);
            if constexpr (Format::kOffset != 0)
                of_blocks = _mm512_sub_epi32(of_blocks, _mm512_load_si512(chunks.x->offsets[p][h]));
            split_avx512(_mm512_cvtepi32_ps(of_blocks), sums.sums[p] + 4 * h);
        }
        terms.numbers[p] = sums.add_up(p, chunks.x->wide_sums[p]);
        terms.factors[p] = plane_scales[p];
    }
    return terms;
}

// sums[r] += row r · x; up to three sums behind the last are written. as_met: x as the format meets it.
template <class Format, int kPlanes, class X>
GR_AVX512_INLINE void add_rows_avx512(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                                      const ActivationBlock* x, const X* as_met, std::int64_t n_values,
                                      float* sums) noexcept {
    RowsOfFour<Format, X> four(rows, row_bytes, n_rows, n_values);
    for (int r = 0; r < n_rows; r += kFour) {
        four.begin(r);
        __m128 sum = _mm_load_ps(sums + r);
        do {
            for (std::int64_t c = four.first(); c < four.last(); ++c) {
                __m128 plane_scales[kPlanes];
                GR_UNROLL
                for (int p = 0; p < kPlanes; ++p) plane_scales[p] = _mm_set1_ps(x[c].plane_scale(p));
                sum = multiply_avx512<Format, kPlanes>(four.chunks(c, as_met[c]), plane_scales).add_to(sum);
            }
        } while (four.go_on());
        _mm_store_ps(sums + r, sum);
    }
}

template <class Format, int kPlanes>
GR_AVX512 void dot_rows_of_planes_avx512(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                                         const ActivationBlock* x, std::int64_t n_values,
                                         float* out) noexcept {
    alignas(16) float sums[kRunRows];
    std::fill_n(sums, (n_rows + kFour - 1) / kFour * kFour, 0.0F);
    constexpr std::int64_t kValues = kChunksAtOnce * ActivationBlock::kValues;
    for (std::int64_t first = 0; first < n_values; first += kValues) {
        const std::int64_t n = std::min(kValues, n_values - first);
        if constexpr (Format::kFloatScales || Format::kGroup == 32) {
            using AsMet =
                std::conditional_t<Format::kFloatScales, ActivationHalves<kPlanes>, ActivationPairs<kPlanes>>;
            AsMet as_met[kChunksAtOnce];
            for (std::int64_t c = 0; c < activation_blocks(n); ++c) as_met[c].template take<Format>(x[c]);
            add_rows_avx512<Format, kPlanes>(rows, row_bytes, n_rows, x, as_met, n, sums);
        } else {
            add_rows_avx512<Format, kPlanes>(rows, row_bytes, n_rows, x, x, n, sums);
        }
        rows += kValues / Format::Block::kValues * sizeof(typename Format::Block);
        x += kChunksAtOnce;
    }
    std::copy_n(sums, n_rows, out);
}

template <class Format>
GR_AVX512 void dot_rows_avx512(const std::byte* rows, std::int64_t row_bytes, int n_rows,
                               const ActivationBlock* x, Planes planes, std::int64_t n_values,
                               float* out) noexcept {
    if (planes == Planes::high)
        dot_rows_of_planes_avx512<Format, 1>(rows, row_bytes, n_rows, x, n_values, out);
    else
        dot_rows_of_planes_avx512<Format, 2>(rows, row_bytes, n_rows, x, n_values, out);
}

}  // namespace greenroom::cpu
