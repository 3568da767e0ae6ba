#include "cpu/quantize.h"

#include "cpu/kernels.h"
#include "cpu/simd.h"
#include "cpu/transpose_simd.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>

namespace greenroom::cpu {
namespace {

constexpr int kValues = ActivationBlock::kValues;
constexpr int kGroup = ActivationBlock::kGroup;
constexpr int kPart = 16;  // floats of a vector of AVX-512
constexpr std::uint32_t kMagnitude = 0x7fffffffU;
constexpr std::uint32_t kInfinity = 0x7f800000U;

// The scale for values of which the largest magnitude has these bits: as integers they are in the same order,
// with infinity and NaN at the top. Below FLT_MIN 1 / scale might be infinite.
float scale_of(std::uint32_t largest) noexcept {
    if (largest >= kInfinity) return std::numeric_limits<float>::quiet_NaN();
    const float scale = std::bit_cast<float>(largest) / static_cast<float>(ActivationBlock::kLargest);
    return scale >= FLT_MIN ? scale : 0.0F;
}

void make_zero(ActivationBlock& block, float scale) noexcept {
    std::memset(&block, 0, sizeof block);
    block.scale = scale;
}

void add_up_pairs(ActivationBlock& block) noexcept {
    for (int p = 0; p < ActivationBlock::kPlanes; ++p)
        for (int g = 0; g < ActivationBlock::kGroups / 2; ++g)
            block.wide_sums[p][g] =
                static_cast<std::int16_t>(block.sums[p][2 * g] + block.sums[p][2 * g + 1]);
}

void quantize_block_scalar(ActivationBlock& block, const float* x) noexcept {
    std::uint32_t largest = 0;
    for (int i = 0; i < kValues; ++i)
        largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & kMagnitude);
    const float scale = scale_of(largest);
    if (!(scale > 0.0F)) return make_zero(block, scale);
    block.scale = scale;
    const float inverse = 1.0F / scale;
    for (int g = 0; g < ActivationBlock::kGroups; ++g) {
        int sums[ActivationBlock::kPlanes] = {};
        for (int i = kGroup * g; i < kGroup * (g + 1); ++i) {
            const int q = static_cast<int>(std::nearbyint(x[i] * inverse));  // half to even
            const int high = (q + 64) >> 7;
            block.planes[0][i] = static_cast<std::int8_t>(high);
            block.planes[1][i] = static_cast<std::int8_t>(q - 128 * high);
            sums[0] += block.planes[0][i];
            sums[1] += block.planes[1][i];
        }
        block.sums[0][g] = static_cast<std::int16_t>(sums[0]);
        block.sums[1][g] = static_cast<std::int16_t>(sums[1]);
    }
    add_up_pairs(block);
}

// Σ of the bytes of each half of v, 16 each, as two words.
GR_AVX2_INLINE void store_byte_sums(std::int16_t* sums, __m256i v) noexcept {
    constexpr int kRaised = 128;  // to unsigned bytes, for the instruction that adds up eight of those
    const __m256i raised = _mm256_xor_si256(v, _mm256_set1_epi8(-kRaised));
    const __m256i octets = _mm256_sad_epu8(raised, _mm256_setzero_si256());
    const __m256i all = _mm256_add_epi64(octets, _mm256_unpackhi_epi64(octets, octets));
    sums[0] = static_cast<std::int16_t>(_mm_cvtsi128_si32(_mm256_castsi256_si128(all)) - kGroup * kRaised);
    sums[1] =
        static_cast<std::int16_t>(_mm_cvtsi128_si32(_mm256_extracti128_si256(all, 1)) - kGroup * kRaised);
}

GR_AVX2 void quantize_block_avx2(ActivationBlock& block, const float* x) noexcept {
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(kMagnitude));
    __m256i eight = _mm256_setzero_si256();
    for (int i = 0; i < kValues; i += 8)
        eight = _mm256_max_epu32(eight, _mm256_and_si256(_mm256_castps_si256(_mm256_loadu_ps(x + i)), mask));
    const __m128i four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
    const __m128i one = _mm_max_epu32(two, _mm_shuffle_epi32(two, 0xb1));
    const float scale = scale_of(static_cast<std::uint32_t>(_mm_cvtsi128_si32(one)));
    if (!(scale > 0.0F)) return make_zero(block, scale);
    block.scale = scale;
    const __m256 inverse = _mm256_set1_ps(1.0F / scale);
    // Packing works within halves of 128 bits, which takes numbers apart in fours.
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (int i = 0; i < kValues; i += 32) {
        __m256i q[4];
        GR_UNROLL
        for (int k = 0; k < 4; ++k)
            q[k] = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8 * k), inverse));
        __m256i high[2];
        __m256i low[2];
        GR_UNROLL
        for (int k = 0; k < 2; ++k) {
            const __m256i words = _mm256_packs_epi32(q[2 * k], q[2 * k + 1]);
            high[k] = _mm256_srai_epi16(_mm256_add_epi16(words, _mm256_set1_epi16(64)), 7);
            low[k] = _mm256_sub_epi16(words, _mm256_slli_epi16(high[k], 7));
        }
        const __m256i planes[2] = {_mm256_packs_epi16(high[0], high[1]), _mm256_packs_epi16(low[0], low[1])};
        GR_UNROLL
        for (int p = 0; p < ActivationBlock::kPlanes; ++p) {
            const __m256i bytes = _mm256_permutevar8x32_epi32(planes[p], order);
            _mm256_store_si256(reinterpret_cast<__m256i*>(block.planes[p] + i), bytes);
            store_byte_sums(block.sums[p] + i / kGroup, bytes);
        }
    }
    add_up_pairs(block);
}

// The sums over groups of a plane, and over pairs of them.
GR_AVX512_INLINE void add_up_plane_avx512(ActivationBlock& block, int plane) noexcept {
    const __m512i ones = _mm512_set1_epi8(1);
    __m512i quads[4];
    GR_UNROLL
    for (int i = 0; i < 4; ++i) {
        quads[i] = _mm512_setzero_si512();
        add_byte_products_avx512(quads[i], ones, _mm512_load_si512(block.planes[plane] + 64 * i));
    }
    // Group 4i + l in lane 4l + i.
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i sums = _mm512_permutexvar_epi32(order, sum_quads_avx512(quads));
    const __m256i words = _mm512_cvtepi32_epi16(sums);
    _mm256_store_si256(reinterpret_cast<__m256i*>(block.sums[plane]), words);
    const __m256i pairs = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
    _mm_store_si128(reinterpret_cast<__m128i*>(block.wide_sums[plane]), _mm256_cvtepi32_epi16(pairs));
}

// A block of kPart · n_parts values; those beyond are zero.
GR_AVX512_INLINE void quantize_parts_avx512(ActivationBlock& block, const float* x, int n_parts) noexcept {
    const __m512i mask = _mm512_set1_epi32(static_cast<int>(kMagnitude));
    __m512i magnitudes = _mm512_setzero_si512();
    GR_UNROLL
    for (int i = 0; i < kPart * n_parts; i += kPart)
        magnitudes = _mm512_max_epu32(magnitudes, _mm512_and_si512(_mm512_loadu_si512(x + i), mask));
    const float scale = scale_of(_mm512_reduce_max_epu32(magnitudes));
    if (!(scale > 0.0F)) return make_zero(block, scale);
    block.scale = scale;
    const __m512 inverse = _mm512_set1_ps(1.0F / scale);
    GR_UNROLL
    for (int i = 0; i < kPart * n_parts; i += kPart) {
        const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), inverse));
        const __m512i high = _mm512_srai_epi32(_mm512_add_epi32(q, _mm512_set1_epi32(64)), 7);
        const __m512i low = _mm512_sub_epi32(q, _mm512_slli_epi32(high, 7));
        _mm_store_si128(reinterpret_cast<__m128i*>(block.planes[0] + i), _mm512_cvtepi32_epi8(high));
        _mm_store_si128(reinterpret_cast<__m128i*>(block.planes[1] + i), _mm512_cvtepi32_epi8(low));
    }
    for (int i = kPart * n_parts; i < kValues; i += kPart) {
        _mm_store_si128(reinterpret_cast<__m128i*>(block.planes[0] + i), _mm_setzero_si128());
        _mm_store_si128(reinterpret_cast<__m128i*>(block.planes[1] + i), _mm_setzero_si128());
    }
    GR_UNROLL
    for (int p = 0; p < ActivationBlock::kPlanes; ++p) add_up_plane_avx512(block, p);
}

GR_AVX512 void quantize_block_avx512(ActivationBlock& block, const float* x) noexcept {
    quantize_parts_avx512(block, x, kValues / kPart);
}

GR_AVX512 [[gnu::noinline]] void quantize_part_of_block_avx512(ActivationBlock& block, const float* x,
                                                               int n_parts) noexcept {
    quantize_parts_avx512(block, x, n_parts);
}

template <class QuantizeBlock>
void quantize_row(ActivationBlock* blocks, const float* x, std::int64_t n_values,
                  QuantizeBlock quantize_block) noexcept {
    for (; n_values >= kValues; n_values -= kValues, x += kValues) quantize_block(*blocks++, x);
    if (n_values == 0) return;
    float padded[kValues] = {};
    std::copy_n(x, n_values, padded);
    quantize_block(*blocks, padded);
}

}  // namespace

void quantize_row_scalar(ActivationBlock* blocks, const float* x, std::int64_t n_values) noexcept {
    quantize_row(blocks, x, n_values, quantize_block_scalar);
}

void quantize_row_avx2(ActivationBlock* blocks, const float* x, std::int64_t n_values) noexcept {
    quantize_row(blocks, x, n_values, quantize_block_avx2);
}

void quantize_row_avx512(ActivationBlock* blocks, const float* x, std::int64_t n_values) noexcept {
    const std::int64_t n_left = n_values % kValues;
    if (n_left % kPart != 0) return quantize_row(blocks, x, n_values, quantize_block_avx512);
    quantize_row(blocks, x, n_values - n_left, quantize_block_avx512);
    const std::int64_t n_whole = n_values / kValues;
    if (n_left > 0)
        quantize_part_of_block_avx512(blocks[n_whole], x + n_whole * kValues,
                                      static_cast<int>(n_left / kPart));
}

void quantize_rows(ThreadTeam& team, ActivationRows rows, ConstMatrixView x) {
    quantize_heads(team, rows, x, 1, x.n_cols, 0);
}

void quantize_heads(ThreadTeam& team, ActivationRows rows, ConstMatrixView x, std::int64_t n_heads,
                    std::int64_t n_values, std::int64_t head_stride) {
    const Kernels& k = kernels();
    constexpr std::int64_t kValuesPerTask = 8192;  // some 2 µs: for less no other thread is worth waking
    const std::int64_t grain = std::max<std::int64_t>(1, kValuesPerTask / n_values);
    team.parallel_for(x.n_rows * n_heads, grain, [&](std::int64_t first, std::int64_t last, int) noexcept {
        for (std::int64_t r = first; r < last; ++r)
            k.quantize_row(rows.row(r), x.row(r / n_heads) + r % n_heads * head_stride, n_values);
    });
}

}  // namespace greenroom::cpu
