#include "cpu/quantize.h"

#include "cpu/kernels.h"
#include "cpu/simd.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>

namespace greenroom::cpu {
namespace {

constexpr int kGroup = ActivationBlock::kGroup;
constexpr std::uint32_t kMagnitude = 0x7fffffffU;
constexpr std::uint32_t kInfinity = 0x7f800000U;

// The scale for values of which the largest magnitude has these bits: as integers they are in the same order,
// with infinity and NaN at the top. Below FLT_MIN 1 / scale might be infinite.
float scale_of(std::uint32_t largest) noexcept {
    if (largest >= kInfinity) return std::numeric_limits<float>::quiet_NaN();
    const float scale = std::bit_cast<float>(largest) / 127.0F;
    return scale >= FLT_MIN ? scale : 0.0F;
}

void quantize_group_scalar(float& scale, std::int16_t& sum, std::int8_t* q, const float* x) noexcept {
    std::uint32_t largest = 0;
    for (int i = 0; i < kGroup; ++i)
        largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & kMagnitude);
    scale = scale_of(largest);
    sum = 0;
    std::fill_n(q, kGroup, std::int8_t{0});
    if (!(scale > 0.0F)) return;
    const float inverse = 1.0F / scale;
    for (int i = 0; i < kGroup; ++i) {
        q[i] = static_cast<std::int8_t>(std::nearbyint(x[i] * inverse));  // half to even
        sum = static_cast<std::int16_t>(sum + q[i]);
    }
}

GR_AVX2 void quantize_group_avx2(float& scale, std::int16_t& sum, std::int8_t* q, const float* x) noexcept {
    const __m256 low = _mm256_loadu_ps(x);
    const __m256 high = _mm256_loadu_ps(x + 8);
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(kMagnitude));
    const __m256i eight = _mm256_max_epu32(_mm256_and_si256(_mm256_castps_si256(low), mask),
                                           _mm256_and_si256(_mm256_castps_si256(high), mask));
    const __m128i four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
    const __m128i two = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
    const __m128i one = _mm_max_epu32(two, _mm_shuffle_epi32(two, 0xb1));
    scale = scale_of(static_cast<std::uint32_t>(_mm_cvtsi128_si32(one)));
    if (!(scale > 0.0F)) {
        sum = 0;
        std::fill_n(q, kGroup, std::int8_t{0});
        return;
    }
    const __m256 inverse = _mm256_set1_ps(1.0F / scale);
    // Packing works within halves of 128 bits, which then are 0–3, 8–11 and 4–7, 12–15.
    const __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(low, inverse)),
                                             _mm256_cvtps_epi32(_mm256_mul_ps(high, inverse)));
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm_shuffle_epi32(bytes, 0xd8));

    const __m256i pairs = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
    const __m128i quads = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    const __m128i octets = _mm_add_epi32(quads, _mm_shuffle_epi32(quads, 0x4e));
    sum =
        static_cast<std::int16_t>(_mm_cvtsi128_si32(_mm_add_epi32(octets, _mm_shuffle_epi32(octets, 0xb1))));
}

template <class QuantizeGroup>
void quantize_row(ActivationBlock* blocks, const float* x, std::int64_t n_values,
                  QuantizeGroup quantize_group) noexcept {
    constexpr int kGroups = ActivationBlock::kGroups;
    const std::int64_t n_groups = activation_blocks(n_values) * kGroups;
    for (std::int64_t g = 0; g < n_groups; ++g) {
        ActivationBlock& block = blocks[g / kGroups];
        const std::int64_t at = g % kGroups;
        const std::int64_t left = n_values - g * kGroup;
        float padded[kGroup] = {};
        if (left > 0 && left < kGroup) std::copy_n(x + g * kGroup, left, padded);
        quantize_group(block.scales[at], block.sums[at], block.q + kGroup * at,
                       left >= kGroup ? x + g * kGroup : padded);
    }
}

// A block at a time, so that what the first term leaves needs little room.
void quantize_in_two_terms(const Kernels& k, ActivationBlock* first, ActivationBlock* second, const float* x,
                           std::int64_t n_values) noexcept {
    for (; n_values > 0; ++first, ++second, x += ActivationBlock::kValues) {
        const std::int64_t n = std::min<std::int64_t>(n_values, ActivationBlock::kValues);
        k.quantize_row(first, x, n);
        float rest[ActivationBlock::kValues];
        for (std::int64_t i = 0; i < n; ++i)
            rest[i] = x[i] - first->scales[i / kGroup] * static_cast<float>(first->q[i]);
        k.quantize_row(second, rest, n);
        n_values -= n;
    }
}

}  // namespace

void quantize_row_scalar(ActivationBlock* blocks, const float* x, std::int64_t n_values) noexcept {
    quantize_row(blocks, x, n_values, quantize_group_scalar);
}

void quantize_row_avx2(ActivationBlock* blocks, const float* x, std::int64_t n_values) noexcept {
    quantize_row(blocks, x, n_values, quantize_group_avx2);
}

void quantize_rows(ThreadTeam& team, ActivationRows rows, ConstMatrixView x, Terms terms) {
    quantize_heads(team, rows, x, 1, x.n_cols, 0, terms);
}

void quantize_heads(ThreadTeam& team, ActivationRows rows, ConstMatrixView x, std::int64_t n_heads,
                    std::int64_t n_values, std::int64_t head_stride, Terms terms) {
    const Kernels& k = kernels();
    constexpr std::int64_t kValuesPerTask = 8192;  // some 2 µs: for less no other thread is worth waking
    const std::int64_t grain = std::max<std::int64_t>(1, kValuesPerTask / n_values);
    team.parallel_for(x.n_rows * n_heads, grain, [&](std::int64_t first, std::int64_t last, int) noexcept {
        for (std::int64_t r = first; r < last; ++r) {
            const float* values = x.row(r / n_heads) + r % n_heads * head_stride;
            if (terms == Terms::one)
                k.quantize_row(rows.row(r), values, n_values);
            else
                quantize_in_two_terms(k, rows.row(2 * r), rows.row(2 * r + 1), values, n_values);
        }
    });
}

}  // namespace greenroom::cpu
