#pragma once

// Dot products of a few rows of weights with a few vectors: the inner part of matvec.cu and expert_ffn.cu.
//
// A team of n_lanes neighbouring lanes of a warp (8, 16 or 32; a power of two) shares the work for kRows
// rows: lane i takes pieces i, i + n_lanes, … of a row (32 values of a quantized type; 4 of a float type) for
// all rows and vectors, so that a piece of a vector, which comes from the L1 cache, serves all rows and a
// piece of a row, which comes from memory, all vectors. Neighbouring lanes read neighbouring pieces. The
// lanes' sums are added at the end.
//
// There are two ways, as on the CPU:
//   IntegerDot<Block>   quantized weights, quantized vectors:  Σ_pieces scale · a.scale · Σ q · a.q
//                       with the inner sum exact (at most 2^27) and rounded once to float32; offsets are
//                       multiplied by the sums that come with a vector
//   FloatDot<T>         any weights, float32 vectors: weights decoded as quant/decode has them
//
// A dot product's order of summation depends on the row's length and type only, so its bits depend neither on
// the other rows nor on the other vectors. Tolerance: the rounding of float32 sums of n / n_lanes terms, on
// top of what quantizing the vectors has cost (quantize.h).

#include "gpu/blocks.cuh"
#include "gpu/device.cuh"
#include "gpu/kernels/quantize.h"

namespace greenroom::gpu {

// How many lanes share a row of so many pieces: a full warp for long rows, so that its loads are long runs;
// less where much of a warp would have nothing to do.
inline int lanes_per_row(std::int64_t n_pieces) {
    int best = kWarpSize;
    double best_use = 0;
    for (int lanes = kWarpSize; lanes >= 8; lanes /= 2) {
        const auto rounds = static_cast<double>(ceil_div<std::int64_t>(n_pieces, lanes));
        const double use = static_cast<double>(n_pieces) / (rounds * lanes);
        if (use > best_use + 0.1) {
            best = lanes;
            best_use = use;
        }
    }
    return best;
}

// Vectors for IntegerDot: row v of head h is number v · n_heads + h.
struct IntegerVectors {
    ActivationRows rows;
    std::int64_t n_heads = 1;

    GR_DEVICE const ActivationBlock* vector(std::int64_t v, std::int64_t head) const {
        return rows.data + (v * n_heads + head) * rows.stride;
    }
};

// Vectors for FloatDot, one per row, those of heads head_stride floats apart.
struct FloatVectors {
    ConstMatrixView rows;
    std::int64_t head_stride = 0;

    GR_DEVICE const float* vector(std::int64_t v, std::int64_t head) const {
        return row_of(rows, v) + head * head_stride;
    }
};

template <class Block>
struct IntegerDot {
    using Weights = Block;
    using Vectors = IntegerVectors;
    using Vector = const ActivationBlock*;
    static constexpr int kPieceValues = kUnitValues;

    template <int kRows, int kVectors>
    static GR_DEVICE void add(const std::byte* const (&rows)[kRows], const Vector (&vectors)[kVectors],
                              std::int64_t /*n_values*/, std::int64_t piece, float (&sums)[kRows][kVectors]) {
        Unit units[kRows];
        GR_UNROLL
        for (int r = 0; r < kRows; ++r) read_unit<Block>(rows[r], piece, units[r]);
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) {
            const ActivationBlock& x = vectors[v][piece];
            std::uint32_t high[8];
            std::uint32_t low[8];
            float4 scale_and_sums;
            load_words<16>(reinterpret_cast<const std::byte*>(x.high), high);
            load_words<16>(reinterpret_cast<const std::byte*>(x.low), low);
            scale_and_sums = *reinterpret_cast<const float4*>(&x.scale);
            GR_UNROLL
            for (int r = 0; r < kRows; ++r) sums[r][v] += dot(units[r], high, low, scale_and_sums);
        }
    }

  private:
    static GR_DEVICE float dot(const Unit& unit, const std::uint32_t (&high)[8],
                               const std::uint32_t (&low)[8], const float4& x) {
        int sums[2];
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            int of_high = 0;
            int of_low = 0;
            GR_UNROLL
            for (int i = 4 * h; i < 4 * h + 4; ++i) {
                of_high = dot4(static_cast<int>(unit.q[i]), static_cast<int>(high[i]), of_high);
                of_low = dot4(static_cast<int>(unit.q[i]), static_cast<int>(low[i]), of_low);
            }
            sums[h] = 256 * of_high + of_low;
        }
        if constexpr (Format<Block>::kTwoScales) {
            float sum =
                unit.scale[0] * static_cast<float>(sums[0]) + unit.scale[1] * static_cast<float>(sums[1]);
            sum *= x.x;
            if constexpr (Format<Block>::kHasOffset) sum += unit.offset[0] * x.y + unit.offset[1] * x.z;
            return sum;
        } else {
            float sum = unit.scale[0] * x.x * static_cast<float>(sums[0] + sums[1]);
            if constexpr (Format<Block>::kHasOffset) sum += unit.offset[0] * x.w;
            return sum;
        }
    }
};

// Four values of a row of floats that begins at a multiple of their size; the loads are as wide as it allows.
GR_DEVICE void load_four(const F32* from, float (&values)[4]) {
    const auto* floats = reinterpret_cast<const float*>(from);
    if (reinterpret_cast<std::uintptr_t>(from) % 16 == 0) {
        const float4 four = *reinterpret_cast<const float4*>(floats);
        values[0] = four.x;
        values[1] = four.y;
        values[2] = four.z;
        values[3] = four.w;
    } else {
        GR_UNROLL
        for (int j = 0; j < 4; ++j) values[j] = floats[j];
    }
}
template <class T>
GR_DEVICE void load_four(const T* from, float (&values)[4]) {  // F16, BF16
    if (reinterpret_cast<std::uintptr_t>(from) % 8 == 0) {
        const uint2 words = *reinterpret_cast<const uint2*>(from);
        T four[4];
        memcpy(four, &words, sizeof four);
        GR_UNROLL
        for (int j = 0; j < 4; ++j) values[j] = float_value(four, j);
    } else {
        GR_UNROLL
        for (int j = 0; j < 4; ++j) values[j] = float_value(from, j);
    }
}

template <class T>
struct FloatDot {
    using Weights = T;
    using Vectors = FloatVectors;
    using Vector = const float*;
    static constexpr int kPieceValues = kIsQuantized<T> ? kGroupValues : 4;

    template <int kRows, int kVectors>
    static GR_DEVICE void add(const std::byte* const (&rows)[kRows], const Vector (&vectors)[kVectors],
                              std::int64_t n_values, std::int64_t piece, float (&sums)[kRows][kVectors]) {
        float w[kRows][kPieceValues];
        GR_UNROLL
        for (int r = 0; r < kRows; ++r) read(rows[r], n_values, piece, w[r]);
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) {
            GR_UNROLL
            for (int j = 0; j < kPieceValues; j += 4) {
                const std::int64_t at = piece * kPieceValues + j;
                float x[4] = {};
                if (at + 4 <= n_values)
                    load_four(reinterpret_cast<const F32*>(vectors[v] + at), x);
                else
                    for (int i = 0; i < 4; ++i) x[i] = at + i < n_values ? vectors[v][at + i] : 0.0F;
                GR_UNROLL
                for (int r = 0; r < kRows; ++r) {
                    GR_UNROLL
                    for (int i = 0; i < 4; ++i) sums[r][v] += w[r][j + i] * x[i];
                }
            }
        }
    }

  private:
    static GR_DEVICE void read(const std::byte* row, std::int64_t n_values, std::int64_t piece,
                               float (&values)[kPieceValues]) {
        if constexpr (kIsQuantized<T>) {
            read_values<T>(row, n_values, piece, values);
        } else {
            const auto* from = reinterpret_cast<const T*>(row);
            if (4 * piece + 4 <= n_values)
                load_four(from + 4 * piece, values);
            else
                for (int i = 0; i < 4; ++i)
                    values[i] = 4 * piece + i < n_values ? float_value(from, 4 * piece + i) : 0.0F;
        }
    }
};

// sums[r][v] = row r · vector v, in all n_lanes lanes of the team. Every lane of the warp takes part.
template <class Dot, int kRows, int kVectors>
GR_DEVICE void dot_rows(const std::byte* const (&rows)[kRows],
                        const typename Dot::Vector (&vectors)[kVectors], std::int64_t n_values, int n_lanes,
                        float (&sums)[kRows][kVectors]) {
    GR_UNROLL
    for (int r = 0; r < kRows; ++r) {
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v) sums[r][v] = 0.0F;
    }
    const std::int64_t n_pieces = ceil_div<std::int64_t>(n_values, Dot::kPieceValues);
    for (std::int64_t piece = lane_id() % n_lanes; piece < n_pieces; piece += n_lanes)
        Dot::template add<kRows, kVectors>(rows, vectors, n_values, piece, sums);
    for (int mask = n_lanes / 2; mask > 0; mask /= 2) {
        GR_UNROLL
        for (int r = 0; r < kRows; ++r) {
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v) sums[r][v] += shuffle_xor(sums[r][v], mask);
        }
    }
}

}  // namespace greenroom::gpu
