#pragma once

// RowTile: a few rows of a quantized matrix, decoded to float32 into a thread's scratch and multiplied with
// vectors. This is the simple path of every matrix product here: any type, never a whole matrix in float32.

#include "cpu/kernels.h"
#include "quant/base/tensor_view.h"
#include "quant/decode.h"

#include <cstdint>

namespace greenroom::cpu {

// Rows decoded at a time: enough that a vector is used several times while it is in the first-level cache.
inline constexpr int kTileRows = 8;

// Scratch floats that a tile over rows of this length needs.
inline std::int64_t tile_floats(std::int64_t row_values) noexcept { return kTileRows * row_values; }

class RowTile {
  public:
    // Decodes rows [first, last) of w, last - first <= kTileRows, into scratch.
    RowTile(const Kernels& kernels, const TensorView& w, std::int64_t first, std::int64_t last,
            float* scratch) noexcept
        : kernels_(kernels),
          rows_(scratch),
          n_rows_(static_cast<int>(last - first)),
          n_values_(w.row_values()) {
        const quant::DecodeFn decode = quant::find_decoder(w.type);
        for (int r = 0; r < n_rows_; ++r) decode(w.row(first + r), scratch + r * n_values_, n_values_);
    }

    int n_rows() const noexcept { return n_rows_; }

    // For every vector j < n_vectors and row r: store(j, r, row r · vector(j)). `vector` gives a pointer to
    // row_values floats. A result depends on its row and its vector only, not on n_vectors.
    template <class VectorAt, class Store>
    void multiply(std::int64_t n_vectors, VectorAt&& vector, Store&& store) const noexcept {
        std::int64_t j = 0;
        for (; j + kVectors <= n_vectors; j += kVectors) {
            const float* vectors[kVectors];
            for (int v = 0; v < kVectors; ++v) vectors[v] = vector(j + v);
            for (int r = 0; r < n_rows_; ++r) {
                float dots[kVectors];
                kernels_.dot_f32_x4(rows_ + r * n_values_, vectors, n_values_, dots);
                for (int v = 0; v < kVectors; ++v) store(j + v, r, dots[v]);
            }
        }
        for (; j < n_vectors; ++j) {
            const float* x = vector(j);
            for (int r = 0; r < n_rows_; ++r)
                store(j, r, kernels_.dot_f32(rows_ + r * n_values_, x, n_values_));
        }
    }

  private:
    const Kernels& kernels_;
    const float* rows_;
    int n_rows_;
    std::int64_t n_values_;
};

}  // namespace greenroom::cpu
