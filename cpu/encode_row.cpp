// Encoders of some types, AVX2; the scalar ones are the reference encode in quant/. Every value is rounded as
// there, so the bytes are the same.

#include "cpu/encode_row.h"

#include "cpu/simd.h"
#include "quant/blocks.h"
#include "quant/half.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

namespace greenroom::cpu {
namespace {

using quant::Type;

constexpr std::uint32_t kSignBit = 0x80000000U;

GR_AVX2_INLINE __m256 is_nan(__m256 v) noexcept { return _mm256_cmp_ps(v, v, _CMP_UNORD_Q); }

// 8 numbers as F16 or BF16.
GR_AVX2_INLINE __m128i to_f16(__m256 v) noexcept {
    // Every NaN becomes the same one with its sign.
    const __m256 sign =
        _mm256_and_ps(v, _mm256_castsi256_ps(_mm256_set1_epi32(std::bit_cast<int>(kSignBit))));
    const __m256 nan = _mm256_or_ps(sign, _mm256_set1_ps(std::numeric_limits<float>::quiet_NaN()));
    return _mm256_cvtps_ph(_mm256_blendv_ps(v, nan, is_nan(v)), _MM_FROUND_TO_NEAREST_INT);
}
GR_AVX2_INLINE __m128i to_bf16(__m256 v) noexcept {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i upper = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
    const __m256i quiet = _mm256_or_si256(upper, _mm256_set1_epi32(0x0040));
    const __m256i words = _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(is_nan(v)));
    return _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

template <Type kType>
GR_AVX2 void encode_halves_avx2(const float* values, std::byte* row, std::int64_t n_values) noexcept {
    std::int64_t i = 0;
    for (; i + 8 <= n_values; i += 8) {
        const __m256 v = _mm256_loadu_ps(values + i);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(row + 2 * i),
                         kType == Type::F16 ? to_f16(v) : to_bf16(v));
    }
    if (i < n_values) quant::find_encoder(kType)(values + i, row + 2 * i, n_values - i);
}

// The 32 values of a block.
struct BlockValues {
    __m256 v[4];

    GR_AVX2_INLINE explicit BlockValues(const float* values) noexcept {
        GR_UNROLL
        for (int i = 0; i < 4; ++i) v[i] = _mm256_loadu_ps(values + 8 * i);
    }

    // The largest magnitude; NaN if there is a NaN.
    GR_AVX2_INLINE float peak() const noexcept {
        __m256 nan = is_nan(v[0]);
        __m256 highest = magnitude(0);
        GR_UNROLL
        for (int i = 1; i < 4; ++i) {
            nan = _mm256_or_ps(nan, is_nan(v[i]));
            highest = _mm256_max_ps(highest, magnitude(i));
        }
        if (_mm256_movemask_ps(nan) != 0) return std::numeric_limits<float>::quiet_NaN();
        __m128 four = _mm_max_ps(_mm256_castps256_ps128(highest), _mm256_extractf128_ps(highest, 1));
        four = _mm_max_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
    }

    // Which of them have this magnitude: bit i for value i.
    GR_AVX2_INLINE std::uint32_t with_magnitude(float peak) const noexcept {
        std::uint32_t those = 0;
        GR_UNROLL
        for (int i = 0; i < 4; ++i)
            those |= static_cast<std::uint32_t>(
                         _mm256_movemask_ps(_mm256_cmp_ps(magnitude(i), _mm256_set1_ps(peak), _CMP_EQ_OQ)))
                     << 8 * i;
        return those;
    }

  private:
    GR_AVX2_INLINE __m256 magnitude(int i) const noexcept {
        return _mm256_andnot_ps(_mm256_set1_ps(-0.0F), v[i]);
    }
};

GR_AVX2 void encode_q8_0_avx2(const float* values, std::byte* blocks, std::int64_t n_values) noexcept {
    for (std::int64_t i = 0; i < n_values;
         i += quant::BlockQ8_0::kValues, blocks += sizeof(quant::BlockQ8_0)) {
        const BlockValues x(values + i);
        const float peak = x.peak();
        const bool finite = std::isfinite(peak);
        const float inverse = 127.0F / peak;
        const std::uint16_t d =
            quant::f32_to_f16(finite ? peak / 127.0F : std::numeric_limits<float>::quiet_NaN());
        std::memcpy(blocks, &d, sizeof d);
        auto* q = reinterpret_cast<__m256i*>(blocks + sizeof d);
        if (!finite || !std::isfinite(inverse)) {
            _mm256_storeu_si256(q, _mm256_setzero_si256());
            continue;
        }
        __m256i n[4];
        GR_UNROLL
        for (int k = 0; k < 4; ++k) n[k] = _mm256_cvtps_epi32(_mm256_mul_ps(x.v[k], _mm256_set1_ps(inverse)));
        // Quads 0 2 4 6 | 1 3 5 7.
        const __m256i bytes =
            _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
        _mm256_storeu_si256(q, _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
    }
}

GR_AVX2 void encode_q4_0_avx2(const float* values, std::byte* blocks, std::int64_t n_values) noexcept {
    for (std::int64_t i = 0; i < n_values;
         i += quant::BlockQ4_0::kValues, blocks += sizeof(quant::BlockQ4_0)) {
        const BlockValues x(values + i);
        float peak = x.peak();
        // The first of these, with its sign.
        if (peak > 0) peak = values[i + std::countr_zero(x.with_magnitude(peak))];
        const bool finite = std::isfinite(peak);
        const float scale = peak / -8.0F;
        float inverse = 1.0F / scale;
        if (!std::isfinite(inverse)) inverse = 0.0F;
        const std::uint16_t d = quant::f32_to_f16(finite ? scale : std::numeric_limits<float>::quiet_NaN());
        std::memcpy(blocks, &d, sizeof d);
        auto* q = reinterpret_cast<__m128i*>(blocks + sizeof d);
        if (!finite) {
            _mm_storeu_si128(q, _mm_setzero_si128());
            continue;
        }
        __m256i n[4];
        GR_UNROLL
        for (int k = 0; k < 4; ++k) {
            const __m256 shifted =
                _mm256_add_ps(_mm256_mul_ps(x.v[k], _mm256_set1_ps(inverse)), _mm256_set1_ps(8.5F));
            n[k] = _mm256_min_epi32(_mm256_cvttps_epi32(shifted), _mm256_set1_epi32(15));
        }
        const __m256i low = _mm256_or_si256(n[0], _mm256_slli_epi32(n[2], 4));
        const __m256i high = _mm256_or_si256(n[1], _mm256_slli_epi32(n[3], 4));
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), 0xd8);
        _mm_storeu_si128(q,
                         _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    }
}

}  // namespace

quant::EncodeFn find_row_encoder(quant::Type type, Isa isa) noexcept {
    if (isa != Isa::scalar) {
        if (type == Type::F16) return encode_halves_avx2<Type::F16>;
        if (type == Type::BF16) return encode_halves_avx2<Type::BF16>;
        if (type == Type::Q8_0) return encode_q8_0_avx2;
        if (type == Type::Q4_0) return encode_q4_0_avx2;
    }
    return quant::find_encoder(type);
}

quant::EncodeFn find_row_encoder(quant::Type type) {
    static const Isa selected = select_isa();
    return find_row_encoder(type, selected);
}

}  // namespace greenroom::cpu
