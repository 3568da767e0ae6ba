#include "cpu/quantize.h"

#include "cpu/kernels.h"
#include "cpu/simd.h"

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

void quantize_block_scalar(ActivationBlock& block, const float* x) noexcept {
    std::uint32_t largest = 0;
    for (int i = 0; i < kValues; ++i)
        largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & kMagnitude);
    const float scale = scale_of(largest);
    if (!(scale > 0.0F)) return make_zero(block, scale);
    block.scale = scale;
    const float inverse = 1.0F / scale;
    std::fill_n(block.sums, ActivationBlock::kGroups, 0);
    for (int i = 0; i < kValues; ++i) {
        block.q[i] = static_cast<std::int16_t>(std::nearbyint(x[i] * inverse));  // half to even
        block.sums[i / kGroup] += block.q[i];
    }
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
    for (int i = 0; i < kValues; i += kGroup) {
        const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), inverse));
        const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i + 8), inverse));
        // Packing works within halves of 128 bits, which then are 0–3, 8–11 and 4–7, 12–15.
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
        _mm256_store_si256(reinterpret_cast<__m256i*>(block.q + i), words);
        const __m256i octets = _mm256_add_epi32(low, high);
        const __m128i quads =
            _mm_add_epi32(_mm256_castsi256_si128(octets), _mm256_extracti128_si256(octets, 1));
        const __m128i pairs = _mm_add_epi32(quads, _mm_shuffle_epi32(quads, 0x4e));
        block.sums[i / kGroup] = _mm_cvtsi128_si32(_mm_add_epi32(pairs, _mm_shuffle_epi32(pairs, 0xb1)));
    }
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
