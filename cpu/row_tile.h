#pragma once

// RowTile: a few rows of a matrix, ready to be multiplied with any number of vectors. Every matrix product
// here is made of tiles.
//
// There are two kinds of product. Quantized rows meet vectors quantized to 8 bits (dot_quant.h); they are
// read as they stand. Where the type has no kernel for that, or the vectors are to stay in float32, the rows
// are decoded to float32 into a thread's scratch: any type, never a whole matrix.

#include "cpu/dot_quant.h"
#include "cpu/kernels.h"
#include "cpu/quantize.h"
#include "quant/base/matrix_view.h"
#include "quant/base/tensor_view.h"
#include "quant/decode.h"

#include <algorithm>
#include <cstdint>

namespace greenroom::cpu {

// Rows of a tile: enough that a vector is used several times while it is in the first-level cache, and those
// of a panel (dot_quant.h).
inline constexpr int kTileRows = kPanelRows;

// Scratch floats that a tile over rows of this length needs: for the rows in float32. A panel takes less, of
// rows that are long enough to be made one.
inline std::int64_t tile_floats(std::int64_t row_values) noexcept { return kTileRows * row_values; }

// The vectors of a product: rows of float32, and the same rows in 8 bits if a tile is to use those.
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
    // Rows [first, last) of w, last - first <= kTileRows. With a quant_dot they are read from w, else decoded
    // into scratch.
    RowTile(const Kernels& kernels, const QuantDot* quant_dot, const TensorView& w, std::int64_t first,
            std::int64_t last, float* scratch) noexcept
        : kernels_(kernels),
          quant_dot_(quant_dot),
          blocks_(w.row(first)),
          row_bytes_(w.row_bytes()),
          scratch_(scratch),
          n_rows_(static_cast<int>(last - first)),
          n_values_(w.row_values()) {
        if (quant_dot != nullptr) return;
        const quant::DecodeFn decode = quant::find_decoder(w.type);
        for (int r = 0; r < n_rows_; ++r) decode(w.row(first + r), scratch + r * n_values_, n_values_);
    }

    // For every j < n_vectors and row r: store(j, r, row r · vector number index(j)). A result depends on its
    // row and its vector only, not on n_vectors.
    template <class IndexOf, class Store>
    void multiply(std::int64_t n_vectors, const TileVectors& vectors, IndexOf&& index,
                  Store&& store) const noexcept {
        if (makes_panel(n_vectors))
            multiply_panel(n_vectors, vectors, index, store);
        else if (quant_dot_ != nullptr)
            multiply_by(
                n_vectors, [&](std::int64_t j) { return vectors.quantized.row(index(j)); },
                [&](int r, const ActivationBlock* const* x, float* dots) {
                    quant_dot_->x4(blocks_ + r * row_bytes_, x, n_values_, dots);
                },
                [&](int r, const ActivationBlock* const* x, float* dots) {
                    quant_dot_->x2(blocks_ + r * row_bytes_, x, n_values_, dots);
                },
                [&](int r, const ActivationBlock* const* x, float* dots) {
                    quant_dot_->x1(blocks_ + r * row_bytes_, x, n_values_, dots);
                },
                store);
        else
            multiply_by(
                n_vectors, [&](std::int64_t j) { return vectors.x.row(index(j)); },
                [&](int r, const float* const* x, float* dots) {
                    kernels_.dot_f32_x4(scratch_ + r * n_values_, x, n_values_, dots);
                },
                [&](int r, const float* const* x, float* dots) {
                    for (int v = 0; v < 2; ++v)
                        dots[v] = kernels_.dot_f32(scratch_ + r * n_values_, x[v], n_values_);
                },
                [&](int r, const float* const* x, float* dots) {
                    *dots = kernels_.dot_f32(scratch_ + r * n_values_, *x, n_values_);
                },
                store);
    }

  private:
    // Whether laying the rows out pays for itself.
    bool makes_panel(std::int64_t n_vectors) const noexcept {
        constexpr std::int64_t kLeastVectors = 8;
        return quant_dot_ != nullptr && quant_dot_->pack != nullptr && n_vectors >= kLeastVectors &&
               n_rows_ == kPanelRows && n_values_ >= ActivationBlock::kValues;
    }

    template <class IndexOf, class Store>
    void multiply_panel(std::int64_t n_vectors, const TileVectors& vectors, IndexOf&& index,
                        Store&& store) const noexcept {
        static_assert(2 * sizeof(PanelChunk) <= (ActivationBlock::kValues + 1) * kTileRows * sizeof(float));
        auto* panel = reinterpret_cast<PanelChunk*>(scratch_);
        quant_dot_->pack(blocks_, row_bytes_, n_values_, panel);
        for (std::int64_t first = 0; first < n_vectors; first += kPanelVectors) {
            const auto n = static_cast<int>(std::min<std::int64_t>(kPanelVectors, n_vectors - first));
            const ActivationBlock* x[kPanelVectors];
            for (int j = 0; j < n; ++j) x[j] = vectors.quantized.row(index(first + j));
            float dots[kPanelVectors * kPanelRows];
            quant_dot_->dot_panel(panel, x, n, n_values_, dots);
            for (int j = 0; j < n; ++j)
                for (int r = 0; r < kPanelRows; ++r) store(first + j, r, dots[j * kPanelRows + r]);
        }
    }

    // Four vectors at a time, then two, then one.
    template <class VectorAt, class DotX4, class DotX2, class DotX1, class Store>
    void multiply_by(std::int64_t n_vectors, const VectorAt& vector, const DotX4& dot_x4, const DotX2& dot_x2,
                     const DotX1& dot_x1, Store&& store) const noexcept {
        std::int64_t j = 0;
        for (; j + kVectors <= n_vectors; j += kVectors) {
            const decltype(vector(0)) four[kVectors] = {vector(j), vector(j + 1), vector(j + 2),
                                                        vector(j + 3)};
            for (int r = 0; r < n_rows_; ++r) {
                float dots[kVectors];
                dot_x4(r, four, dots);
                for (int v = 0; v < kVectors; ++v) store(j + v, r, dots[v]);
            }
        }
        for (; j + 2 <= n_vectors; j += 2) {
            const decltype(vector(0)) two[2] = {vector(j), vector(j + 1)};
            for (int r = 0; r < n_rows_; ++r) {
                float dots[2];
                dot_x2(r, two, dots);
                for (int v = 0; v < 2; ++v) store(j + v, r, dots[v]);
            }
        }
        for (; j < n_vectors; ++j) {
            const auto one = vector(j);
            for (int r = 0; r < n_rows_; ++r) {
                float dot = 0;
                dot_x1(r, &one, &dot);
                store(j, r, dot);
            }
        }
    }

    const Kernels& kernels_;
    const QuantDot* quant_dot_;
    const std::byte* blocks_;
    std::int64_t row_bytes_;
    float* scratch_;  // the rows in float32, or room for a panel of them
    int n_rows_;
    std::int64_t n_values_;
};

}  // namespace greenroom::cpu
