// Dot products with float32 and y += s·x: scalar reference, AVX2, AVX-512, and the table that they fill.
//
// The SIMD variants keep two independent accumulators to cover some of the latency of FMA and add the tail as
// a masked or scalar rest at the end. Tolerance against the reference: n · 2^-24 · Σ|a·b|.

#include "cpu/delta_steps.h"
#include "cpu/glu.h"
#include "cpu/half_simd.h"
#include "cpu/kernels.h"
#include "cpu/quantize.h"
#include "cpu/rms_norm.h"
#include "cpu/simd.h"

#include <array>
#include <cstddef>
#include <cstring>

namespace greenroom::cpu {
namespace {

// A row of each type that dot products read.
struct Floats {
    static float value(const std::byte* row, std::int64_t i) noexcept {
        float value = 0;
        std::memcpy(&value, row + i * 4, sizeof value);
        return value;
    }
    GR_AVX2_INLINE static __m256 load_avx2(const std::byte* row, std::int64_t i) noexcept {
        return _mm256_loadu_ps(reinterpret_cast<const float*>(row + i * 4));
    }
    GR_AVX512_INLINE static __m512 load_avx512(const std::byte* row, std::int64_t i) noexcept {
        return _mm512_loadu_ps(row + i * 4);
    }
    GR_AVX512_INLINE static __m512 load_avx512(const std::byte* row, std::int64_t i,
                                               __mmask16 mask) noexcept {
        return _mm512_maskz_loadu_ps(mask, row + i * 4);
    }
};

template <class Half>
struct Halves {
    static float value(const std::byte* row, std::int64_t i) noexcept {
        std::uint16_t bits = 0;
        std::memcpy(&bits, row + i * 2, sizeof bits);
        return Half::widen(bits);
    }
    GR_AVX2_INLINE static __m256 load_avx2(const std::byte* row, std::int64_t i) noexcept {
        return load_halves_avx2<Half>(row + i * 2);
    }
    GR_AVX512_INLINE static __m512 load_avx512(const std::byte* row, std::int64_t i) noexcept {
        return load_halves_avx512<Half>(row + i * 2);
    }
    GR_AVX512_INLINE static __m512 load_avx512(const std::byte* row, std::int64_t i,
                                               __mmask16 mask) noexcept {
        return Half::widen_avx512(_mm256_maskz_loadu_epi16(mask, row + i * 2));
    }
};

// The reference accumulates in double: the oracle of the others.
template <class Row>
float dot_scalar(const std::byte* a, const float* b, std::int64_t n) noexcept {
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i)
        sum += static_cast<double>(Row::value(a, i)) * static_cast<double>(b[i]);
    return static_cast<float>(sum);
}

float dot_f32_scalar(const float* a, const float* b, std::int64_t n) noexcept {
    return dot_scalar<Floats>(reinterpret_cast<const std::byte*>(a), b, n);
}

void dot_f32_x4_scalar(const float* a, const float* const* b, std::int64_t n, float* out) noexcept {
    for (int j = 0; j < kVectors; ++j) out[j] = dot_f32_scalar(a, b[j], n);
}

void axpy_f32_scalar(float* y, float s, const float* x, std::int64_t n) noexcept {
    for (std::int64_t i = 0; i < n; ++i) y[i] += s * x[i];
}

void axpy_f32_x4_scalar(float* y, const float* s, const float* const* x, std::int64_t n) noexcept {
    for (int j = 0; j < kVectors; ++j) axpy_f32_scalar(y, s[j], x[j], n);
}

template <class Row>
GR_AVX2 float dot_avx2(const std::byte* a, const float* b, std::int64_t n) noexcept {
    __m256 s0 = _mm256_setzero_ps();
    __m256 s1 = _mm256_setzero_ps();
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        s0 = _mm256_fmadd_ps(Row::load_avx2(a, i), _mm256_loadu_ps(b + i), s0);
        s1 = _mm256_fmadd_ps(Row::load_avx2(a, i + 8), _mm256_loadu_ps(b + i + 8), s1);
    }
    float sum = sum_avx2(_mm256_add_ps(s0, s1));
    for (; i < n; ++i) sum += Row::value(a, i) * b[i];
    return sum;
}

GR_AVX2 float dot_f32_avx2(const float* a, const float* b, std::int64_t n) noexcept {
    return dot_avx2<Floats>(reinterpret_cast<const std::byte*>(a), b, n);
}

// Same order per vector as dot_f32_avx2; the row is loaded once for four vectors, whose eight accumulators
// also hide the latency of FMA.
GR_AVX2 void dot_f32_x4_avx2(const float* a, const float* const* b, std::int64_t n, float* out) noexcept {
    __m256 s0[kVectors];
    __m256 s1[kVectors];
    for (int j = 0; j < kVectors; ++j) s0[j] = s1[j] = _mm256_setzero_ps();
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        const __m256 a0 = _mm256_loadu_ps(a + i);
        const __m256 a1 = _mm256_loadu_ps(a + i + 8);
        for (int j = 0; j < kVectors; ++j) {
            s0[j] = _mm256_fmadd_ps(a0, _mm256_loadu_ps(b[j] + i), s0[j]);
            s1[j] = _mm256_fmadd_ps(a1, _mm256_loadu_ps(b[j] + i + 8), s1[j]);
        }
    }
    for (int j = 0; j < kVectors; ++j) {
        float sum = sum_avx2(_mm256_add_ps(s0[j], s1[j]));
        for (std::int64_t r = i; r < n; ++r) sum += a[r] * b[j][r];
        out[j] = sum;
    }
}

GR_AVX2 void axpy_f32_avx2(float* y, float s, const float* x, std::int64_t n) noexcept {
    const __m256 factor = _mm256_set1_ps(s);
    std::int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_fmadd_ps(factor, _mm256_loadu_ps(x + i), _mm256_loadu_ps(y + i)));
    for (; i < n; ++i) y[i] += s * x[i];
}

GR_AVX2 void axpy_f32_x4_avx2(float* y, const float* s, const float* const* x, std::int64_t n) noexcept {
    __m256 factor[kVectors];
    for (int j = 0; j < kVectors; ++j) factor[j] = _mm256_set1_ps(s[j]);
    std::int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256 sum = _mm256_loadu_ps(y + i);
        for (int j = 0; j < kVectors; ++j) sum = _mm256_fmadd_ps(factor[j], _mm256_loadu_ps(x[j] + i), sum);
        _mm256_storeu_ps(y + i, sum);
    }
    for (; i < n; ++i)
        for (int j = 0; j < kVectors; ++j) y[i] += s[j] * x[j][i];
}

GR_AVX512 inline __mmask16 tail_mask(std::int64_t n) noexcept {
    return static_cast<__mmask16>((1U << n) - 1U);
}

template <class Row>
GR_AVX512 float dot_avx512(const std::byte* a, const float* b, std::int64_t n) noexcept {
    __m512 s0 = _mm512_setzero_ps();
    __m512 s1 = _mm512_setzero_ps();
    std::int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        s0 = _mm512_fmadd_ps(Row::load_avx512(a, i), _mm512_loadu_ps(b + i), s0);
        s1 = _mm512_fmadd_ps(Row::load_avx512(a, i + 16), _mm512_loadu_ps(b + i + 16), s1);
    }
    for (; i < n; i += 16) {
        const __mmask16 mask = n - i >= 16 ? static_cast<__mmask16>(0xffff) : tail_mask(n - i);
        s0 = _mm512_fmadd_ps(Row::load_avx512(a, i, mask), _mm512_maskz_loadu_ps(mask, b + i), s0);
    }
    return sum_avx512(_mm512_add_ps(s0, s1));
}

GR_AVX512 float dot_f32_avx512(const float* a, const float* b, std::int64_t n) noexcept {
    return dot_avx512<Floats>(reinterpret_cast<const std::byte*>(a), b, n);
}

GR_AVX512 void dot_f32_x4_avx512(const float* a, const float* const* b, std::int64_t n, float* out) noexcept {
    __m512 s0[kVectors];
    __m512 s1[kVectors];
    for (int j = 0; j < kVectors; ++j) s0[j] = s1[j] = _mm512_setzero_ps();
    std::int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        const __m512 a0 = _mm512_loadu_ps(a + i);
        const __m512 a1 = _mm512_loadu_ps(a + i + 16);
        for (int j = 0; j < kVectors; ++j) {
            s0[j] = _mm512_fmadd_ps(a0, _mm512_loadu_ps(b[j] + i), s0[j]);
            s1[j] = _mm512_fmadd_ps(a1, _mm512_loadu_ps(b[j] + i + 16), s1[j]);
        }
    }
    for (; i < n; i += 16) {
        const __mmask16 mask = n - i >= 16 ? static_cast<__mmask16>(0xffff) : tail_mask(n - i);
        const __m512 rest = _mm512_maskz_loadu_ps(mask, a + i);
        for (int j = 0; j < kVectors; ++j)
            s0[j] = _mm512_fmadd_ps(rest, _mm512_maskz_loadu_ps(mask, b[j] + i), s0[j]);
    }
    for (int j = 0; j < kVectors; ++j) out[j] = sum_avx512(_mm512_add_ps(s0[j], s1[j]));
}

GR_AVX512 void axpy_f32_avx512(float* y, float s, const float* x, std::int64_t n) noexcept {
    const __m512 factor = _mm512_set1_ps(s);
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(y + i, _mm512_fmadd_ps(factor, _mm512_loadu_ps(x + i), _mm512_loadu_ps(y + i)));
    if (i < n) {
        const __mmask16 mask = tail_mask(n - i);
        const __m512 sum =
            _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(mask, x + i), _mm512_maskz_loadu_ps(mask, y + i));
        _mm512_mask_storeu_ps(y + i, mask, sum);
    }
}

GR_AVX512 void axpy_f32_x4_avx512(float* y, const float* s, const float* const* x, std::int64_t n) noexcept {
    __m512 factor[kVectors];
    for (int j = 0; j < kVectors; ++j) factor[j] = _mm512_set1_ps(s[j]);
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 sum = _mm512_loadu_ps(y + i);
        for (int j = 0; j < kVectors; ++j) sum = _mm512_fmadd_ps(factor[j], _mm512_loadu_ps(x[j] + i), sum);
        _mm512_storeu_ps(y + i, sum);
    }
    if (i < n) {
        const __mmask16 mask = tail_mask(n - i);
        __m512 sum = _mm512_maskz_loadu_ps(mask, y + i);
        for (int j = 0; j < kVectors; ++j)
            sum = _mm512_fmadd_ps(factor[j], _mm512_maskz_loadu_ps(mask, x[j] + i), sum);
        _mm512_mask_storeu_ps(y + i, mask, sum);
    }
}

constexpr Kernels kScalar{
    Isa::scalar,       dot_f32_scalar,  dot_scalar<Halves<HalfF16>>, dot_scalar<Halves<HalfBF16>>,
    dot_f32_x4_scalar, axpy_f32_scalar, axpy_f32_x4_scalar,          quantize_row_scalar,
    glu_scalar,        rms_norm_scalar, delta_steps_scalar};
constexpr Kernels kAvx2{Isa::avx2,       dot_f32_avx2,  dot_avx2<Halves<HalfF16>>, dot_avx2<Halves<HalfBF16>>,
                        dot_f32_x4_avx2, axpy_f32_avx2, axpy_f32_x4_avx2,          quantize_row_avx2,
                        glu_avx2,        rms_norm_avx2, delta_steps_avx2};
constexpr Kernels kAvx512{
    Isa::avx512,       dot_f32_avx512,  dot_avx512<Halves<HalfF16>>, dot_avx512<Halves<HalfBF16>>,
    dot_f32_x4_avx512, axpy_f32_avx512, axpy_f32_x4_avx512,          quantize_row_avx512,
    glu_avx512,        rms_norm_avx2,   delta_steps_avx512};

constexpr Kernels as_of(Kernels kernels, Isa isa) noexcept {
    kernels.isa = isa;
    return kernels;
}

constexpr std::array<Kernels, kIsas> kTables{kScalar,
                                             kAvx2,
                                             as_of(kAvx2, Isa::avx_vnni),
                                             kAvx512,
                                             as_of(kAvx512, Isa::avx512_vbmi),
                                             as_of(kAvx512, Isa::amx)};

}  // namespace

const Kernels& kernels(Isa isa) noexcept { return kTables[static_cast<std::size_t>(isa)]; }

const Kernels& kernels() {
    static const Kernels& selected = kernels(select_isa());
    return selected;
}

}  // namespace greenroom::cpu
