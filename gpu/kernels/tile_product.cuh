#pragma once

// A tile of a matrix product: 64 rows of weights with 64 vectors, by a block of 128 threads. The inner part
// of gemm.cu and of the experts with many tokens.
//
//     memory.results[v][r] = Σ_k row r [k] · vector v [k]                      r, v < 64
//
// Thread i brings the weights of row i / 2 and the values of vector i / 2, the even thread the first half of
// a step and the odd one the second: a unit of 32 values is decoded by one thread, straight from its block,
// and put into shared memory. A row or vector of nullptr is zeros.
//
//   HalfTile    steps of 64 values; weights and vectors as half floats, sums by the tensor cores: four warps,
//               2 × 2 of them, each 32 × 32 results in four tiles of mma.cuh. Per step 4096 weights are
//               decoded for 64³ products: counted in instructions (not measured) decoding is some 5 % of the
//               time of a consumer's tensor cores. Rounding a weight costs it 2^-11 of itself (what exceeds
//               65504 becomes infinite; no weight does), a vector's value as half_rows.h says.
//   FloatTile   steps of 32 values; all in float32, decoded weights bit for bit those of quant/decode. A
//   thread
//               has 4 × 8 results and adds their products in the order of k.
//
// A result depends on its row and its vector only, not on what else is in the tile.

#include "gpu/blocks.cuh"
#include "gpu/device.cuh"
#include "gpu/mma.cuh"

namespace greenroom::gpu {

constexpr int kTileThreads = 128;
constexpr int kTileRows = 64;
constexpr int kTileVectors = 64;

struct HalfTile {
    using Value = std::uint16_t;  // of a vector; padded with zeros to a multiple of a step
    static constexpr int kStep = 64;
    static constexpr int kPitch = kStep + 8;  // whole 16 bytes, and no bank twice among eight neighbours
};
struct FloatTile {
    using Value = float;
    static constexpr int kStep = 32;
    static constexpr int kPitch = kStep + 1;
};

union alignas(32) TileMemory {
    static constexpr int kResultPitch = kTileRows + 4;
    struct {
        std::uint16_t weights[kTileRows][HalfTile::kPitch];
        std::uint16_t vectors[kTileVectors][HalfTile::kPitch];
    } halves;
    struct {
        float weights[kTileRows][FloatTile::kPitch];
        float vectors[kTileVectors][FloatTile::kPitch];
    } floats;
    float results[kTileVectors][kResultPitch];
};

// ---- HalfTile

// Values k … k + 31 of a row of n, as 16 words of two halves.
template <class T>
GR_DEVICE void read_halves(const std::byte* row, std::int64_t n, std::int64_t k, std::uint32_t (&words)[16]) {
    GR_UNROLL
    for (int i = 0; i < 16; ++i) words[i] = 0;
    if (row == nullptr || k >= n) return;
    float values[kGroupValues];
    if constexpr (kIsQuantized<T>) {
        Unit unit;
        read_unit<T>(row, k / kUnitValues, unit);
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            unit_values<T>(unit, h, values);
            GR_UNROLL
            for (int i = 0; i < 8; ++i) words[8 * h + i] = pack_halves(values[2 * i], values[2 * i + 1]);
        }
    } else {
        GR_UNROLL
        for (int h = 0; h < 2; ++h) {
            read_values<T>(row, n, k / kGroupValues + h, values);
            GR_UNROLL
            for (int i = 0; i < 8; ++i) words[8 * h + i] = pack_halves(values[2 * i], values[2 * i + 1]);
        }
    }
}

// 64 bytes to and from memory that is aligned to 16.
GR_DEVICE void store_words(std::uint16_t* to, const std::uint32_t (&words)[16]) {
    GR_UNROLL
    for (int i = 0; i < 4; ++i)
        reinterpret_cast<uint4*>(to)[i] =
            uint4{words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]};
}

// Where a thread's weights of a step come from: values part … part + 31 of line `mine` of the 64 lines that
// go into shared memory for step k. A line is a row of weights …
template <class T>
struct RowLines {
    using A = MmaA;
    const std::byte* row;  // the thread's
    std::int64_t n_values;

    GR_DEVICE void read(std::int64_t k, int /*mine*/, int part, std::uint32_t (&words)[16]) const {
        read_halves<T>(row, n_values, k + part, words);
    }
    static GR_DEVICE void load(A& a, const TileMemory& memory, int row, int k) {
        mma_load(a, &memory.halves.weights[row][k], HalfTile::kPitch);
    }
};
// … or, of a matrix that is transposed, what 64 of its columns have in one row: one k of 64 results.
template <class T>
struct ColumnLines {
    using A = MmaTransposedA;
    const std::byte* matrix;
    std::int64_t row_bytes;
    std::int64_t n_rows;     // of the matrix: values of a vector
    std::int64_t n_columns;  // results
    std::int64_t first_column;

    GR_DEVICE void read(std::int64_t k, int mine, int part, std::uint32_t (&words)[16]) const {
        const std::byte* row = k + mine < n_rows ? matrix + (k + mine) * row_bytes : nullptr;
        read_halves<T>(row, n_columns, first_column + part, words);
    }
    static GR_DEVICE void load(A& a, const TileMemory& memory, int row, int k) {
        mma_load(a, &memory.halves.weights[k][row], HalfTile::kPitch);
    }
};

template <class Lines>
GR_DEVICE void half_tile_product(TileMemory& memory, const Lines& lines, const std::uint16_t* vector,
                                 std::int64_t n_values) {
    const int mine = static_cast<int>(threadIdx.x) / 2;
    const int part = static_cast<int>(threadIdx.x) % 2 * kUnitValues;
    const int first_row = warp_id() / 2 * 32;
    const int first_vector = warp_id() % 2 * 32;
    MmaSum sums[2][2];
    GR_UNROLL
    for (int i = 0; i < 4; ++i) mma_zero(sums[i / 2][i % 2]);
    for (std::int64_t k = 0; k < n_values; k += HalfTile::kStep) {
        std::uint32_t weights[16];
        std::uint32_t values[16] = {};
        lines.read(k, mine, part, weights);
        if (vector != nullptr) load_words<16>(reinterpret_cast<const std::byte*>(vector + k + part), values);
        __syncthreads();  // everybody is done with the step before
        store_words(&memory.halves.weights[mine][part], weights);
        store_words(&memory.halves.vectors[mine][part], values);
        __syncthreads();
        GR_UNROLL
        for (int at = 0; at < HalfTile::kStep; at += kMmaSize) {
            typename Lines::A a[2];
            MmaB b[2];
            GR_UNROLL
            for (int i = 0; i < 2; ++i) {
                Lines::load(a[i], memory, first_row + kMmaSize * i, at);
                mma_load(b[i], &memory.halves.vectors[first_vector + kMmaSize * i][at], HalfTile::kPitch);
            }
            GR_UNROLL
            for (int i = 0; i < 4; ++i) mma_add(sums[i / 2][i % 2], a[i / 2], b[i % 2]);
        }
    }
    __syncthreads();
    GR_UNROLL
    for (int i = 0; i < 4; ++i)
        mma_store_by_columns(
            &memory.results[first_vector + kMmaSize * (i % 2)][first_row + kMmaSize * (i / 2)],
            sums[i / 2][i % 2], TileMemory::kResultPitch);
    __syncthreads();
}

template <class T>
GR_DEVICE void tile_product(HalfTile, TileMemory& memory, const std::byte* row, const std::uint16_t* vector,
                            std::int64_t n_values) {
    half_tile_product(memory, RowLines<T>{row, n_values}, vector, n_values);
}

// ---- FloatTile

template <class T>
GR_DEVICE void tile_product(FloatTile, TileMemory& memory, const std::byte* row, const float* vector,
                            std::int64_t n_values) {
    constexpr int kRows = 4;
    constexpr int kVectors = 8;
    const int mine = static_cast<int>(threadIdx.x) / 2;
    const int part = static_cast<int>(threadIdx.x) % 2 * kGroupValues;
    const int first_row = static_cast<int>(threadIdx.x) % 16;     // and those 16, 32, 48 further
    const int first_vector = static_cast<int>(threadIdx.x) / 16;  // and those 8, 16, … further
    float sums[kRows][kVectors] = {};
    for (std::int64_t k = 0; k < n_values; k += FloatTile::kStep) {
        float weights[kGroupValues] = {};
        float values[kGroupValues];
        const std::int64_t at = k + part;
        if (row != nullptr && at < n_values) read_values<T>(row, n_values, at / kGroupValues, weights);
        GR_UNROLL
        for (int j = 0; j < kGroupValues; ++j)
            values[j] = vector != nullptr && at + j < n_values ? vector[at + j] : 0.0F;
        __syncthreads();
        GR_UNROLL
        for (int j = 0; j < kGroupValues; ++j) {
            memory.floats.weights[mine][part + j] = weights[j];
            memory.floats.vectors[mine][part + j] = values[j];
        }
        __syncthreads();
        for (int j = 0; j < FloatTile::kStep; ++j) {
            float w[kRows];
            GR_UNROLL
            for (int r = 0; r < kRows; ++r) w[r] = memory.floats.weights[first_row + 16 * r][j];
            GR_UNROLL
            for (int v = 0; v < kVectors; ++v) {
                const float x = memory.floats.vectors[first_vector + 8 * v][j];
                GR_UNROLL
                for (int r = 0; r < kRows; ++r) sums[r][v] += w[r] * x;
            }
        }
    }
    __syncthreads();
    GR_UNROLL
    for (int v = 0; v < kVectors; ++v) {
        GR_UNROLL
        for (int r = 0; r < kRows; ++r) memory.results[first_vector + 8 * v][first_row + 16 * r] = sums[r][v];
    }
    __syncthreads();
}

}  // namespace greenroom::gpu
