// Decoders of some types: AVX2 and AVX-512 beside each other; the scalar ones are the reference decode in
// quant/. All products are single and exact or rounded once, as there, so the results are the same bits.

#include "cpu/decode_row.h"

#include "cpu/half_simd.h"
#include "cpu/simd.h"
#include "quant/blocks.h"

#include <cstring>

namespace greenroom::cpu {
namespace {

using quant::Type;

template <class Half>
GR_AVX2 void decode_halves_avx2(const std::byte* row, float* out, std::int64_t n_values) noexcept {
    std::int64_t i = 0;
    for (; i + 8 <= n_values; i += 8) _mm256_storeu_ps(out + i, load_halves_avx2<Half>(row + 2 * i));
    if (i < n_values) quant::decode_row(Half::kType, row + 2 * i, out + i, n_values - i);
}

template <class Half>
GR_AVX512 void decode_halves_avx512(const std::byte* row, float* out, std::int64_t n_values) noexcept {
    std::int64_t i = 0;
    for (; i + 16 <= n_values; i += 16) _mm512_storeu_ps(out + i, load_halves_avx512<Half>(row + 2 * i));
    if (i < n_values) decode_halves_avx2<Half>(row + 2 * i, out + i, n_values - i);
}

// Block: half scale, 32 signed bytes.  value = scale · q.
GR_AVX2 void decode_q8_0_avx2(const std::byte* blocks, float* out, std::int64_t n_values) noexcept {
    for (std::int64_t i = 0; i < n_values; i += 32, blocks += sizeof(quant::BlockQ8_0)) {
        std::uint16_t half;
        std::memcpy(&half, blocks, sizeof half);
        const __m256 scale = _mm256_set1_ps(_cvtsh_ss(half));
        const std::byte* q = blocks + sizeof half;
        for (int part = 0; part < 4; ++part) {
            const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(q + 8 * part));
            const __m256 values = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
            _mm256_storeu_ps(out + i + 8 * part, _mm256_mul_ps(scale, values));
        }
    }
}

GR_AVX512_INLINE void store_scaled_avx512(float* out, __m512 scale, __m128i bytes) noexcept {
    const __m512i integers = _mm512_maskz_cvtepi8_epi32(0xffff, bytes);
    _mm512_storeu_ps(out, _mm512_mul_ps(scale, _mm512_maskz_cvtepi32_ps(0xffff, integers)));
}

GR_AVX512 void decode_q8_0_avx512(const std::byte* blocks, float* out, std::int64_t n_values) noexcept {
    for (std::int64_t i = 0; i < n_values; i += 32, blocks += sizeof(quant::BlockQ8_0)) {
        std::uint16_t half;
        std::memcpy(&half, blocks, sizeof half);
        const __m512 scale = _mm512_set1_ps(_cvtsh_ss(half));
        const auto* q = reinterpret_cast<const __m128i*>(blocks + sizeof half);
        store_scaled_avx512(out + i, scale, _mm_loadu_si128(q));
        store_scaled_avx512(out + i + 16, scale, _mm_loadu_si128(q + 1));
    }
}

// Block: half scale, 16 bytes: value j in the low half of byte j, value j + 16 in its high half.
// value = (q - 8) · scale.
GR_AVX2 void decode_q4_0_avx2(const std::byte* blocks, float* out, std::int64_t n_values) noexcept {
    const __m128i low_half = _mm_set1_epi8(0x0f);
    const __m128i eight = _mm_set1_epi8(8);
    for (std::int64_t i = 0; i < n_values; i += 32, blocks += sizeof(quant::BlockQ4_0)) {
        std::uint16_t half;
        std::memcpy(&half, blocks, sizeof half);
        const __m256 scale = _mm256_set1_ps(_cvtsh_ss(half));
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + sizeof half));
        const __m128i halves[2] = {
            _mm_sub_epi8(_mm_and_si128(bytes, low_half), eight),
            _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16(bytes, 4), low_half), eight),
        };
        for (int h = 0; h < 2; ++h) {
            const __m256 first = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(halves[h]));
            const __m256 second = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(halves[h], 8)));
            _mm256_storeu_ps(out + i + 16 * h, _mm256_mul_ps(first, scale));
            _mm256_storeu_ps(out + i + 16 * h + 8, _mm256_mul_ps(second, scale));
        }
    }
}

GR_AVX512 void decode_q4_0_avx512(const std::byte* blocks, float* out, std::int64_t n_values) noexcept {
    const __m128i low_half = _mm_set1_epi8(0x0f);
    const __m128i eight = _mm_set1_epi8(8);
    for (std::int64_t i = 0; i < n_values; i += 32, blocks += sizeof(quant::BlockQ4_0)) {
        std::uint16_t half;
        std::memcpy(&half, blocks, sizeof half);
        const __m512 scale = _mm512_set1_ps(_cvtsh_ss(half));
        const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + sizeof half));
        const __m128i high = _mm_srli_epi16(bytes, 4);
        store_scaled_avx512(out + i, scale, _mm_sub_epi8(_mm_and_si128(bytes, low_half), eight));
        store_scaled_avx512(out + i + 16, scale, _mm_sub_epi8(_mm_and_si128(high, low_half), eight));
    }
}

}  // namespace

quant::DecodeFn find_row_decoder(quant::Type type, Isa isa) noexcept {
    if (isa != Isa::scalar) {
        const bool is_512 = vectors_of(isa) == Isa::avx512;
        if (type == Type::F16) return is_512 ? decode_halves_avx512<HalfF16> : decode_halves_avx2<HalfF16>;
        if (type == Type::BF16) return is_512 ? decode_halves_avx512<HalfBF16> : decode_halves_avx2<HalfBF16>;
        if (type == Type::Q8_0) return is_512 ? decode_q8_0_avx512 : decode_q8_0_avx2;
        if (type == Type::Q4_0) return is_512 ? decode_q4_0_avx512 : decode_q4_0_avx2;
    }
    return quant::find_decoder(type);
}

quant::DecodeFn find_row_decoder(quant::Type type) {
    static const Isa selected = select_isa();
    return find_row_decoder(type, selected);
}

}  // namespace greenroom::cpu
