// Quantized keys of a block laid out anew, and their scores: scalar reference, AVX-512.

#include "cpu/attention_quant.h"
#include "cpu/attention_quant_simd.h"
#include "quant/blocks.h"
#include "quant/half.h"

#include <algorithm>

namespace greenroom::cpu {
namespace {

using quant::BlockQ4_0;
using quant::BlockQ8_0;

constexpr int kUnitsPerBlock = ActivationBlock::kValues / PackedKeys::kValues;
constexpr int kGroups = PackedKeys::kValues / PackedKeys::kGroup;
// Queries whose sums are in registers together.
constexpr int kScoreGroup = 8;

template <class Block>
Block block_of(const std::byte* row, std::int64_t unit) noexcept {
    Block block;
    std::memcpy(&block, row + unit * static_cast<std::int64_t>(sizeof(Block)), sizeof block);
    return block;
}

GR_AVX512_INLINE __m128 load_16_bytes(const std::byte* from) noexcept {
    return _mm_loadu_ps(reinterpret_cast<const float*>(from));
}

// 16 bytes at the same place of 16 rows, as 4 · 4: lane s of out[k] has number k of row s. Rows s, s + 4,
// s + 8 and s + 12 are put beside each other by masked loads, as in pack_keys_avx512().
GR_AVX512_INLINE void load_turned(__m512i* out, const std::byte* const* rows, std::int64_t at) noexcept {
    __m512 v[4];
    GR_UNROLL
    for (int r = 0; r < 4; ++r) {
        v[r] = _mm512_maskz_broadcast_f32x4(0x000f, load_16_bytes(rows[r] + at));
        v[r] = _mm512_mask_broadcast_f32x4(v[r], 0x00f0, load_16_bytes(rows[r + 4] + at));
        v[r] = _mm512_mask_broadcast_f32x4(v[r], 0x0f00, load_16_bytes(rows[r + 8] + at));
        v[r] = _mm512_mask_broadcast_f32x4(v[r], 0xf000, load_16_bytes(rows[r + 12] + at));
    }
    transpose_quads(v);
    GR_UNROLL
    for (int k = 0; k < 4; ++k) out[k] = _mm512_castps_si512(v[k]);
}

// Adds one plane of the queries times a unit of keys, four values in a step; `at` is where the unit begins in
// the plane. Positions are those from p on, here and below.
template <int kQueries, int kVectors>
GR_AVX512_INLINE void add_plane_avx512(__m512i (*sums)[kVectors], const ActivationBlock* const* queries,
                                       std::int64_t block, int plane, std::int64_t at, const PackedKeys& key,
                                       int p, LinesAhead::Lines lines) noexcept {
    const std::int8_t* x[kQueries];
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) x[j] = queries[j][block].planes[plane] + at;
    for (int g = 0; g < kGroups; ++g) {
        bring_near(lines[g]);
        __m512i value[kVectors];
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) value[v] = _mm512_load_si512(key.values[g][p + 16 * v]);
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j) {
            const __m512i four = broadcast_avx512(x[j] + PackedKeys::kGroup * g);
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v) add_byte_products_avx512(sums[j][v], value[v], four);
        }
    }
}

// Adds to scores what the units of block number `block` of the queries give; block 0 starts them. The high
// plane comes first: it counts 128 times, which the low one is then added to.
template <int kQueries, int kVectors>
GR_AVX512 [[gnu::noinline]] void score_tile_avx512(float* scores, const ActivationBlock* const* queries,
                                                   std::int64_t block, const PackedKeys* keys, int p,
                                                   int n_units, LinesAhead& ahead) noexcept {
    __m512 totals[kQueries][kVectors];
    for (int unit = 0; unit < n_units; ++unit) {
        const PackedKeys& key = keys[unit];
        const LinesAhead::Lines lines = ahead.take(2 * kGroups);
        __m512i sums[kQueries][kVectors];
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j) {
            // Undoes the 128 that is added to the keys, of which the shift makes another 128.
            const ActivationBlock& x = queries[j][block];
            const __m512i offset = _mm512_set1_epi32(-128 * x.wide_sums[0][unit] - x.wide_sums[1][unit]);
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v) sums[j][v] = offset;
        }
        add_plane_avx512<kQueries, kVectors>(sums, queries, block, 0, unit * PackedKeys::kValues, key, p,
                                             lines);
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j) {
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v) sums[j][v] = _mm512_slli_epi32(sums[j][v], 7);
        }
        add_plane_avx512<kQueries, kVectors>(sums, queries, block, 1, unit * PackedKeys::kValues, key, p,
                                             lines.from(kGroups));
        GR_UNROLL
        for (int j = 0; j < kQueries; ++j) {
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v) {
                const __m512 total = unit == 0 ? _mm512_setzero_ps() : totals[j][v];
                const __m512 sum = _mm512_maskz_cvtepi32_ps(0xffff, sums[j][v]);
                totals[j][v] = _mm512_fmadd_ps(_mm512_load_ps(key.scales + p + 16 * v), sum, total);
            }
        }
    }
    GR_UNROLL
    for (int j = 0; j < kQueries; ++j) {
        const __m512 scale = _mm512_set1_ps(queries[j][block].scale);
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) {
            float* score = scores + j * kBlockPositions + p + 16 * v;
            const __m512 before = block == 0 ? _mm512_setzero_ps() : _mm512_loadu_ps(score);
            _mm512_storeu_ps(score, _mm512_fmadd_ps(scale, totals[j][v], before));
        }
    }
}

// The tiles for n <= kQueries: of as many vectors as leave room for what the sums are made of.
template <int kQueries>
GR_AVX512_INLINE void score_group_avx512(int n, float* scores, const ActivationBlock* const* queries,
                                         std::int64_t block, const PackedKeys* keys, int n_units,
                                         LinesAhead& ahead) noexcept {
    if (n == kQueries) {
        constexpr int kVectors = kQueries <= 2 ? 4 : 2;
        for (int p = 0; p < kBlockPositions; p += 16 * kVectors)
            score_tile_avx512<kQueries, kVectors>(scores, queries, block, keys, p, n_units, ahead);
    } else if constexpr (kQueries > 1) {
        score_group_avx512<kQueries - 1>(n, scores, queries, block, keys, n_units, ahead);
    }
}

struct KeysQ8_0 {
    using Block = BlockQ8_0;
    static constexpr float kScale = 1;

    // Those of 16 positions from s on; their quants begin at `at` in the rows.
    GR_AVX512_INLINE static void pack(PackedKeys& key, int s, const std::byte* const* rows,
                                      std::int64_t at) noexcept {
        const __m512i offset = _mm512_set1_epi8(-128);
        __m256 blocks[16];
        GR_UNROLL
        for (int r = 0; r < 16; ++r)
            blocks[r] = _mm256_loadu_ps(reinterpret_cast<const float*>(rows[s + r] + at));
        __m512 turned[8];
        transpose_16x8_avx512(blocks, turned);
        GR_UNROLL
        for (int k = 0; k < 8; ++k)
            _mm512_store_si512(key.values[k][s], _mm512_xor_si512(_mm512_castps_si512(turned[k]), offset));
    }
};

struct KeysQ4_0 {
    using Block = BlockQ4_0;
    static constexpr float kScale = 1.0F / 16;

    // The high half of a byte is 16 · (q + 8) as it is, the low one where it is shifted to.
    GR_AVX512_INLINE static void pack(PackedKeys& key, int s, const std::byte* const* rows,
                                      std::int64_t at) noexcept {
        const __m512i high_half = _mm512_set1_epi8(-16);
        __m512i turned[4];
        load_turned(turned, rows + s, at);
        GR_UNROLL
        for (int k = 0; k < 4; ++k) {
            const __m512i low = _mm512_slli_epi32(turned[k], 4);
            _mm512_store_si512(key.values[k][s], _mm512_and_si512(low, high_half));
            _mm512_store_si512(key.values[4 + k][s], _mm512_and_si512(turned[k], high_half));
        }
    }
};

template <class Keys>
GR_AVX512_INLINE void pack_keys_avx512(PackedKeys* keys, const std::byte* const* rows,
                                       std::int64_t n_values) noexcept {
    constexpr auto kScaleBytes = static_cast<std::int64_t>(sizeof Keys::Block::d);
    constexpr auto kBlockBytes = static_cast<std::int64_t>(sizeof(typename Keys::Block));
    const std::int64_t n_units = n_values / PackedKeys::kValues;
    for (std::int64_t first = 0; first < n_units; first += 2) {
        const std::int64_t last = std::min(first + 1, n_units - 1);
        __m512 scales[2][kBlockPositions / 16];
        load_scales_avx512(scales[0], scales[1], rows, first * kBlockBytes, last * kBlockBytes);
        for (std::int64_t unit = first; unit <= last; ++unit)
            for (int v = 0; v < kBlockPositions / 16; ++v) {
                _mm512_store_ps(keys[unit].scales + 16 * v,
                                _mm512_mul_ps(scales[unit - first][v], _mm512_set1_ps(Keys::kScale)));
                Keys::pack(keys[unit], 16 * v, rows, unit * kBlockBytes + kScaleBytes);
            }
    }
}

}  // namespace

void pack_keys_q8_0_scalar(PackedKeys* keys, const std::byte* const* rows, std::int64_t n_values) noexcept {
    for (std::int64_t unit = 0; unit < n_values / PackedKeys::kValues; ++unit)
        for (int s = 0; s < kBlockPositions; ++s) {
            const auto block = block_of<BlockQ8_0>(rows[s], unit);
            keys[unit].scales[s] = quant::f16_to_f32(block.d);
            for (int i = 0; i < PackedKeys::kValues; ++i)
                keys[unit].values[i / PackedKeys::kGroup][s][i % PackedKeys::kGroup] =
                    static_cast<std::uint8_t>(block.qs[i] + 128);
        }
}

void pack_keys_q4_0_scalar(PackedKeys* keys, const std::byte* const* rows, std::int64_t n_values) noexcept {
    for (std::int64_t unit = 0; unit < n_values / PackedKeys::kValues; ++unit)
        for (int s = 0; s < kBlockPositions; ++s) {
            const auto block = block_of<BlockQ4_0>(rows[s], unit);
            keys[unit].scales[s] = quant::f16_to_f32(block.d) / 16;
            for (int i = 0; i < PackedKeys::kValues; ++i) {
                const int q = (i < 16 ? block.qs[i] & 15 : block.qs[i - 16] >> 4) - 8;
                keys[unit].values[i / PackedKeys::kGroup][s][i % PackedKeys::kGroup] =
                    static_cast<std::uint8_t>(16 * q + 128);
            }
        }
}

void score_quant_scalar(float* scores, const ActivationBlock* const* queries, int n_queries,
                        const PackedKeys* keys, std::int64_t n_values, LinesAhead& /*ahead*/) noexcept {
    for (int j = 0; j < n_queries; ++j)
        for (int s = 0; s < kBlockPositions; ++s) {
            double sum = 0;
            for (std::int64_t i = 0; i < n_values; ++i) {
                const PackedKeys& key = keys[i / PackedKeys::kValues];
                const auto place = static_cast<int>(i % PackedKeys::kValues);
                const ActivationBlock& x = queries[j][i / ActivationBlock::kValues];
                const int q = key.values[place / PackedKeys::kGroup][s][place % PackedKeys::kGroup] - 128;
                sum += static_cast<double>(key.scales[s]) * q * static_cast<double>(x.scale) *
                       x.value(static_cast<int>(i % ActivationBlock::kValues));
            }
            scores[j * kBlockPositions + s] = static_cast<float>(sum);
        }
}

GR_AVX512 void pack_keys_q8_0_avx512(PackedKeys* keys, const std::byte* const* rows,
                                     std::int64_t n_values) noexcept {
    pack_keys_avx512<KeysQ8_0>(keys, rows, n_values);
}

GR_AVX512 void pack_keys_q4_0_avx512(PackedKeys* keys, const std::byte* const* rows,
                                     std::int64_t n_values) noexcept {
    pack_keys_avx512<KeysQ4_0>(keys, rows, n_values);
}

GR_AVX512 void score_quant_avx512(float* scores, const ActivationBlock* const* queries, int n_queries,
                                  const PackedKeys* keys, std::int64_t n_values, LinesAhead& ahead) noexcept {
    const int size = group_size(n_queries, kScoreGroup);
    const std::int64_t n_units = n_values / PackedKeys::kValues;
    for (std::int64_t unit = 0; unit < n_units; unit += kUnitsPerBlock) {
        const auto n = static_cast<int>(std::min<std::int64_t>(kUnitsPerBlock, n_units - unit));
        for (int first = 0; first < n_queries; first += size)
            score_group_avx512<kScoreGroup>(std::min(size, n_queries - first),
                                            scores + first * kBlockPositions, queries + first,
                                            unit / kUnitsPerBlock, keys + unit, n, ahead);
    }
}

}  // namespace greenroom::cpu
