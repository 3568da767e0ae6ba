#pragma once

// Products of some rows of a weight matrix with vectors: what matrix products and experts are made of.
//
// There are two kinds of product. Quantized rows meet quantized vectors (dot_quant.h): read as they stand for
// few vectors, laid out anew for many. Where the type has no kernel for that, or the vectors are to
// stay in float32, the rows are decoded to float32 into a thread's scratch: any type, never a whole matrix.
// F16 and BF16 are read as they stand for few vectors, with the same result.

#include "cpu/decode_row.h"
#include "cpu/dot_quant.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/quantize.h"
#include "quant/base/matrix_view.h"
#include "quant/base/tensor_view.h"

#include <algorithm>
#include <cstdint>

namespace greenroom::cpu {

// Scratch floats that a tile over rows of this length needs: for its rows in float32, or for its products
// with many vectors.
inline std::int64_t tile_floats(std::int64_t row_values) noexcept {
    return kTileRows * ActivationBlock::kValues * activation_blocks(row_values);
}

// Up to so many vectors a product waits for memory rather than for multiplying.
inline constexpr std::int64_t kFewVectors = 4;

// Calls body(first, last, thread) for runs of tiles, n_tiles in all, as they lie in memory: what one tile
// fetches ahead is then the thread's own. A product of few vectors is over in microseconds and would wait for
// memory at the ends of many runs.
template <class Body>
void for_each_run(ThreadTeam& team, std::int64_t n_tiles, std::int64_t n_vectors, Body&& body) {
    const std::int64_t n_threads = team.n_active();
    if (n_vectors > kFewVectors)
        team.parallel_for(n_tiles, std::max<std::int64_t>(1, n_tiles / (64 * n_threads)), body);
    else if (n_threads == 1)
        body(std::int64_t{0}, n_tiles, 0);
    else
        share_out(team, n_tiles, body);
}

// Calls body(tile, thread) for each of n_tiles tiles.
template <class Body>
void for_each_tile(ThreadTeam& team, std::int64_t n_tiles, std::int64_t n_vectors, Body&& body) {
    for_each_run(team, n_tiles, n_vectors, [&](std::int64_t first, std::int64_t last, int thread) noexcept {
        for (std::int64_t tile = first; tile < last; ++tile) body(tile, thread);
    });
}

inline std::int64_t tiles_of(std::int64_t n_rows) noexcept { return (n_rows + kTileRows - 1) / kTileRows; }

// The vectors of a product: rows of float32, and the same rows as integers if a tile is to use those.
struct TileVectors {
    ConstMatrixView x;
    ActivationRows quantized;
};

// The kernel for products of a matrix of this type, or nullptr where they are computed in float32.
inline const QuantDot* choose_quant_dot(const Kernels& kernels, quant::Type type,
                                        const ActivationBuffer& buffer) noexcept {
    return buffer.empty() ? nullptr : find_quant_dot(type, kernels.isa);
}

class RowTile {
  public:
    // Rows [first, last) of w, last - first <= kTileRows. With a quant_dot they are read from w and meet
    // these planes of the activations; else multiply() decodes them into scratch, unless they are float32 as
    // they stand, or F16 or BF16 that meet few vectors.
    RowTile(const Kernels& kernels, const QuantDot* quant_dot, Planes planes, const TensorView& w,
            std::int64_t first, std::int64_t last, float* scratch) noexcept
        : kernels_(kernels),
          quant_dot_(quant_dot),
          planes_(planes),
          type_(w.type),
          blocks_(w.row(first)),
          row_bytes_(w.row_bytes()),
          scratch_(scratch),
          n_rows_(static_cast<int>(last - first)),
          n_values_(w.row_values()) {}

    int n_rows() const noexcept { return n_rows_; }

    // For every j < n_vectors: store(j, dots) with dots[r] = row r · vector number index(j). A result depends
    // on its row and its vector only, not on n_vectors.
    template <class IndexOf, class Store>
    void multiply(std::int64_t n_vectors, const TileVectors& vectors, IndexOf&& index,
                  Store&& store) const noexcept {
        if (quant_dot_ == nullptr && n_vectors < kVectors && type_ == quant::Type::F16)
            multiply_rows_by_floats(kernels_.dot_f16, n_vectors, vectors.x, index, store);
        else if (quant_dot_ == nullptr && n_vectors < kVectors && type_ == quant::Type::BF16)
            multiply_rows_by_floats(kernels_.dot_bf16, n_vectors, vectors.x, index, store);
        else if (quant_dot_ == nullptr)
            multiply_floats(n_vectors, vectors.x, index, store);
        else if (n_vectors < kLeastOfTile || quant_dot_->dot_tile == nullptr)
            multiply_rows(n_vectors, vectors.quantized, index, store);
        else
            multiply_tile(n_vectors, vectors.quantized, index, store);
    }

  private:
    // From how many vectors on it pays to lay the rows out.
    static constexpr std::int64_t kLeastOfTile = 3;

    template <class IndexOf, class Store>
    void multiply_rows(std::int64_t n_vectors, const ActivationRows& vectors, IndexOf&& index,
                       Store&& store) const noexcept {
        for (std::int64_t j = 0; j < n_vectors; ++j) {
            float dots[kTileRows] = {};  // the kernel writes n_rows_ of them
            quant_dot_->dot_rows(blocks_, row_bytes_, n_rows_, vectors.row(index(j)), planes_, n_values_,
                                 dots);
            store(j, static_cast<const float*>(dots));
        }
    }

    template <class IndexOf, class Store>
    void multiply_tile(std::int64_t n_vectors, const ActivationRows& vectors, IndexOf&& index,
                       Store&& store) const noexcept {
        constexpr std::int64_t kMost = ActivationBlock::kValues;  // for which scratch has room
        for (std::int64_t first = 0; first < n_vectors; first += kMost) {
            const std::int64_t n = std::min(kMost, n_vectors - first);
            const ActivationBlock* x[kMost];
            for (std::int64_t j = 0; j < n; ++j) x[j] = vectors.row(index(first + j));
            quant_dot_->dot_tile(blocks_, row_bytes_, n_rows_, x, static_cast<int>(n), planes_, n_values_,
                                 scratch_);
            for (std::int64_t j = 0; j < n; ++j)
                store(first + j, static_cast<const float*>(scratch_ + j * kTileRows));
        }
    }

    // The rows in float32: as they stand, or decoded.
    const float* floats() const noexcept {
        if (type_ == quant::Type::F32 && reinterpret_cast<std::uintptr_t>(blocks_) % alignof(float) == 0)
            return reinterpret_cast<const float*>(blocks_);
        const quant::DecodeFn decode = find_row_decoder(type_, kernels_.isa);
        for (int r = 0; r < n_rows_; ++r)
            decode(blocks_ + r * row_bytes_, scratch_ + r * n_values_, n_values_);
        return scratch_;
    }

    // dot reads the rows as they stand.
    template <class Dot, class IndexOf, class Store>
    void multiply_rows_by_floats(Dot dot, std::int64_t n_vectors, ConstMatrixView x, IndexOf&& index,
                                 Store&& store) const noexcept {
        for (std::int64_t j = 0; j < n_vectors; ++j) {
            const float* one = x.row(index(j));
            float dots[kTileRows] = {};
            for (int r = 0; r < n_rows_; ++r) dots[r] = dot(blocks_ + r * row_bytes_, one, n_values_);
            store(j, static_cast<const float*>(dots));
        }
    }

    template <class IndexOf, class Store>
    void multiply_floats(std::int64_t n_vectors, ConstMatrixView x, IndexOf&& index,
                         Store&& store) const noexcept {
        const float* rows = floats();
        std::int64_t j = 0;
        for (; j + kVectors <= n_vectors; j += kVectors) {
            const float* four[kVectors];
            for (int v = 0; v < kVectors; ++v) four[v] = x.row(index(j + v));
            float dots[kVectors][kTileRows] = {};
            for (int r = 0; r < n_rows_; ++r) {
                float of_row[kVectors];
                kernels_.dot_f32_x4(rows + r * n_values_, four, n_values_, of_row);
                for (int v = 0; v < kVectors; ++v) dots[v][r] = of_row[v];
            }
            for (int v = 0; v < kVectors; ++v) store(j + v, static_cast<const float*>(dots[v]));
        }
        for (; j < n_vectors; ++j) {
            const float* one = x.row(index(j));
            float dots[kTileRows] = {};
            for (int r = 0; r < n_rows_; ++r)
                dots[r] = kernels_.dot_f32(rows + r * n_values_, one, n_values_);
            store(j, static_cast<const float*>(dots));
        }
    }

    const Kernels& kernels_;
    const QuantDot* quant_dot_;
    Planes planes_;
    quant::Type type_;
    const std::byte* blocks_;
    std::int64_t row_bytes_;
    float* scratch_;  // room for rows in float32, or for products
    int n_rows_;
    std::int64_t n_values_;
};

}  // namespace greenroom::cpu
