#pragma once

// Products of some rows of a weight matrix with vectors: what matrix products and experts are made of.
//
// There are two kinds of product. Quantized rows meet quantized vectors (dot_quant.h): read as they stand for
// few vectors, laid out anew for many, which may be packed for it. Where the type has no kernel for that, or
// the vectors are to stay in float32, the rows are decoded to float32 into a thread's scratch: any type,
// never a whole matrix. F16 and BF16 are read as they stand for few vectors, with the same result.

#include "cpu/decode_row.h"
#include "cpu/dot_quant.h"
#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "cpu/quantize.h"
#include "quant/base/matrix_view.h"
#include "quant/base/tensor_view.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace greenroom::cpu {

// Whether vectors are packed where there are many (packed_vectors.h).
inline bool packs_vectors(const Kernels& kernels) noexcept { return kernels.isa == Isa::amx; }

// 16 vectors of this length, packed.
constexpr std::int64_t packed_bytes(std::int64_t row_values) noexcept {
    return activation_blocks(row_values) * static_cast<std::int64_t>(sizeof(PackedVectors));
}

// Vectors of this length that are packed at a time: 256, or as many as come to 4 MiB, so that a thread's
// caches hold them.
inline constexpr std::int64_t kMostPackedGroups = 16;
inline constexpr std::int64_t kLeastPackedGroups = 2;
inline constexpr std::int64_t kPackedBytes = std::int64_t{4} << 20;
constexpr std::int64_t most_packed_vectors(std::int64_t row_values) noexcept {
    return PackedVectors::kVectors * std::clamp<std::int64_t>(kPackedBytes / packed_bytes(row_values),
                                                              kLeastPackedGroups, kMostPackedGroups);
}

// Scratch floats that a run of rows of this length, or of shorter ones, needs: for a tile of them in float32,
// for its products with many vectors, or for packed vectors and their products. (Fewer long vectors may take
// less room than many that are not as long: the bound does not fall.)
inline std::int64_t tile_floats(std::int64_t row_values, const Kernels& of = kernels()) noexcept {
    const std::int64_t tile = kTileRows * ActivationBlock::kValues * activation_blocks(row_values);
    if (!packs_vectors(of)) return tile;
    const std::int64_t of_group = packed_bytes(row_values);
    const std::int64_t packed =
        std::min(kMostPackedGroups * of_group, std::max(kPackedBytes, kLeastPackedGroups * of_group));
    return std::max(tile, kMostPackedGroups * PackedVectors::kVectors * kTileRows +
                              packed / static_cast<std::int64_t>(sizeof(float)));
}

// Up to so many vectors a product waits for memory rather than for multiplying.
inline constexpr std::int64_t kFewVectors = 4;

// Calls body(first, last, thread) for ranges of n_tiles tiles of rows, as they lie in memory: what is fetched
// ahead is then the thread's own. A product of few vectors is over in microseconds and would wait for memory
// at the ends of many ranges.
template <class Body>
void for_each_range(ThreadTeam& team, std::int64_t n_tiles, std::int64_t n_vectors, Body&& body) {
    constexpr std::int64_t kLeastTiles = 16;
    if (n_vectors <= kFewVectors) {
        share_out(team, n_tiles, kLeastTiles, body);
        return;
    }
    std::int64_t tiles = std::max<std::int64_t>(1, n_tiles / (64 * team.n_active()));
    // What packing costs is shared by the tiles of a range.
    if (packs_vectors(kernels()))
        tiles = std::max(tiles, std::min<std::int64_t>(8, n_tiles / (4 * team.n_active())));
    team.parallel_for(n_tiles, tiles, body);
}

// Vectors for whose products with a tile scratch has room.
inline constexpr std::int64_t kMostTileVectors = ActivationBlock::kValues;

// Vectors that rows of this length meet once they are laid out; for the next ones they are laid out again.
inline std::int64_t vectors_at_a_time(const Kernels& kernels, std::int64_t row_values) noexcept {
    return packs_vectors(kernels) ? most_packed_vectors(row_values) : kMostTileVectors;
}

// Many vectors of a product, in as few parts of up to `most` as there can be (a multiple of 16; see
// vectors_at_a_time()), done one after the other: with each part all of the rows. With as many parts as
// threads a thread's own share is made of the vectors that it wrote in the region before, and it
// packs no others.
class VectorParts {
  public:
    constexpr VectorParts(std::int64_t n_vectors, std::int64_t most) noexcept
        : n_vectors_(n_vectors),
          n_groups_((n_vectors + PackedVectors::kVectors - 1) / PackedVectors::kVectors),
          n_parts_(std::max<std::int64_t>(1, (n_vectors + most - 1) / most)) {}

    constexpr std::int64_t n_parts() const noexcept { return n_parts_; }
    constexpr std::int64_t first(std::int64_t part) const noexcept {
        return std::min(part * n_groups_ / n_parts_ * PackedVectors::kVectors, n_vectors_);
    }
    constexpr std::int64_t size(std::int64_t part) const noexcept { return first(part + 1) - first(part); }

  private:
    std::int64_t n_vectors_;
    std::int64_t n_groups_;
    std::int64_t n_parts_;
};

constexpr std::int64_t tiles_of(std::int64_t n_rows) noexcept { return (n_rows + kTileRows - 1) / kTileRows; }

// Calls body(matrix, first row, last row, thread) for runs of rows of n_matrices with n_rows each. With many
// vectors that are not packed a run is a tile, whose results are then still in the first-level cache when
// they are used.
template <class Body>
void for_each_run(ThreadTeam& team, std::int64_t n_matrices, std::int64_t n_rows, std::int64_t n_vectors,
                  Body&& body) {
    const std::int64_t tiles = tiles_of(n_rows);
    const std::int64_t longest = n_vectors <= kFewVectors || packs_vectors(kernels()) ? tiles : 1;
    for_each_range(team, n_matrices * tiles, n_vectors,
                   [&](std::int64_t first, std::int64_t last, int thread) noexcept {
                       while (first < last) {
                           const std::int64_t matrix = first / tiles;
                           const std::int64_t end = std::min({last, (matrix + 1) * tiles, first + longest});
                           body(matrix, (first - matrix * tiles) * kTileRows,
                                std::min((end - matrix * tiles) * kTileRows, n_rows), thread);
                           first = end;
                       }
                   });
}

// The vectors of a product: rows of float32, and the same rows as integers if a run is to use those.
struct RunVectors {
    ConstMatrixView x;
    ActivationRows quantized;
};

// The kernel for products of a matrix of this type, or nullptr where they are computed in float32.
inline const QuantDot* choose_quant_dot(const Kernels& kernels, quant::Type type,
                                        const ActivationBuffer& buffer) noexcept {
    return buffer.empty() ? nullptr : find_quant_dot(type, kernels.isa);
}

// What runs of rows know of the vectors that are packed in the scratch of a thread: those that meet the same
// vectors one after the other share it, and the vectors are packed once.
struct PackedInScratch {
    std::int64_t first = -1;  // vectors from this number on; none
};

// dots → to. Nearly always a tile's, for which no function is called.
inline void store_dots(float* to, const float* dots, int n) noexcept {
    if (n == kTileRows)
        std::memcpy(to, dots, kTileRows * sizeof(float));
    else
        std::copy_n(dots, n, to);
}

// Some neighbouring rows of a matrix, which a thread multiplies.
class RowRun {
  public:
    // Rows [first, last) of w. With a quant_dot they are read from w and meet these planes of the
    // activations; else multiply() decodes them into scratch, a tile at a time, unless they are float32 as
    // they stand, or F16 or BF16 that meet few vectors.
    RowRun(const Kernels& kernels, const QuantDot* quant_dot, Planes planes, const TensorView& w,
           std::int64_t first, std::int64_t last, float* scratch) noexcept
        : kernels_(kernels),
          quant_dot_(quant_dot),
          planes_(planes),
          w_(w),
          row_bytes_(w.row_bytes()),
          first_(first),
          last_(last),
          scratch_(scratch) {}

    // For parts of the run, n rows from `row` on, and every j < n_vectors: store(j, row, dots, n) with
    // dots[r] = row (row + r) · vector number index(j), n <= kRunRows. A result depends on its row and its
    // vector only, not on n_vectors.
    // `packed` tells of the scratch: one for the runs of a thread that, one after the other, meet the same
    // vectors in the same planes.
    template <class IndexOf, class Store>
    void multiply(std::int64_t n_vectors, const RunVectors& vectors, IndexOf&& index, Store&& store,
                  PackedInScratch& packed) const noexcept {
        if (quant_dot_ != nullptr && quant_dot_->dot_packed != nullptr && n_vectors >= kLeastToPack) {
            multiply_packed(n_vectors, vectors.quantized, index, store, packed);
            return;
        }
        packed = {};  // the scratch is used for other things
        const bool one = quant_dot_ != nullptr && n_vectors == 1;
        if (one) fetch_first_rows();
        const std::int64_t step = one ? kRunRows : kTileRows;
        for (std::int64_t row = first_; row < last_; row += step) {
            const Rows rows{row, row_at(row), static_cast<int>(std::min(step, last_ - row))};
            if (quant_dot_ == nullptr && n_vectors < kVectors && w_.type == quant::Type::F16)
                multiply_rows_by_floats(rows, kernels_.dot_f16, n_vectors, vectors.x, index, store);
            else if (quant_dot_ == nullptr && n_vectors < kVectors && w_.type == quant::Type::BF16)
                multiply_rows_by_floats(rows, kernels_.dot_bf16, n_vectors, vectors.x, index, store);
            else if (quant_dot_ == nullptr)
                multiply_floats(rows, n_vectors, vectors.x, index, store);
            else if (n_vectors < kLeastOfTile || quant_dot_->dot_tile == nullptr)
                multiply_rows(rows, n_vectors, vectors.quantized, index, store);
            else
                multiply_tile(rows, n_vectors, vectors.quantized, index, store);
        }
    }

  private:
    // A part of the run: up to kTileRows, or kRunRows with one quantized vector.
    struct Rows {
        std::int64_t first;
        const std::byte* blocks;
        int n;
    };

    const std::byte* row_at(std::int64_t row) const noexcept { return w_.data + row * row_bytes_; }

    // Asks for the rows that dot_rows() does not fetch itself.
    void fetch_first_rows() const noexcept {
        constexpr std::int64_t kLine = 64;
        const std::byte* rows = row_at(first_);
        const std::int64_t n_bytes = std::min(kRowsAhead + 3 * row_bytes_, (last_ - first_) * row_bytes_);
        for (std::int64_t at = 0; at < n_bytes; at += kLine) __builtin_prefetch(rows + at, 0, 3);
    }

    // From how many vectors on it pays to lay the rows out.
    static constexpr std::int64_t kLeastOfTile = 3;

    // From how many on to pack them, too.
    static constexpr std::int64_t kLeastToPack = 8;

    template <class IndexOf, class Store>
    void multiply_rows(const Rows& rows, std::int64_t n_vectors, const ActivationRows& vectors,
                       IndexOf&& index, Store&& store) const noexcept {
        for (std::int64_t j = 0; j < n_vectors; ++j) {
            float dots[kRunRows];
            quant_dot_->dot_rows(rows.blocks, row_bytes_, rows.n, vectors.row(index(j)), planes_,
                                 w_.row_values(), dots);
            store(j, rows.first, static_cast<const float*>(dots), rows.n);
        }
    }

    template <class IndexOf, class Store>
    void multiply_tile(const Rows& rows, std::int64_t n_vectors, const ActivationRows& vectors,
                       IndexOf&& index, Store&& store) const noexcept {
        for (std::int64_t first = 0; first < n_vectors; first += kMostTileVectors) {
            const std::int64_t n = std::min(kMostTileVectors, n_vectors - first);
            const ActivationBlock* x[kMostTileVectors];
            for (std::int64_t j = 0; j < n; ++j) x[j] = vectors.row(index(first + j));
            quant_dot_->dot_tile(rows.blocks, row_bytes_, rows.n, x, static_cast<int>(n), planes_,
                                 w_.row_values(), scratch_);
            for (std::int64_t j = 0; j < n; ++j)
                store(first + j, rows.first, static_cast<const float*>(scratch_ + j * kTileRows), rows.n);
        }
    }

    template <class IndexOf, class Store>
    void multiply_packed(std::int64_t n_vectors, const ActivationRows& vectors, IndexOf&& index,
                         Store&& store, PackedInScratch& in_scratch) const noexcept {
        constexpr std::int64_t kMost = kMostPackedGroups * PackedVectors::kVectors;
        const std::int64_t most = most_packed_vectors(w_.row_values());
        float* dots = scratch_;
        auto* packed = reinterpret_cast<PackedVectors*>(scratch_ + most * kTileRows);
        for (std::int64_t first = 0; first < n_vectors; first += most) {
            const auto n = static_cast<int>(std::min(most, n_vectors - first));
            if (in_scratch.first != first) {
                const ActivationBlock* x[kMost];
                for (int j = 0; j < n; ++j) x[j] = vectors.row(index(first + j));
                pack_vectors_avx512(x, n, planes_, w_.row_values(), packed);
                in_scratch.first = first;
            }
            for (std::int64_t row = first_; row < last_; row += kTileRows) {
                const auto n_rows = static_cast<int>(std::min<std::int64_t>(kTileRows, last_ - row));
                quant_dot_->dot_packed(row_at(row), row_bytes_, n_rows, packed, n, planes_, w_.row_values(),
                                       dots);
                for (int j = 0; j < n; ++j)
                    store(first + j, row, static_cast<const float*>(dots + j * kTileRows), n_rows);
            }
        }
    }

    // The rows in float32: as they stand, or decoded.
    const float* floats(const Rows& rows) const noexcept {
        if (w_.type == quant::Type::F32 &&
            reinterpret_cast<std::uintptr_t>(rows.blocks) % alignof(float) == 0)
            return reinterpret_cast<const float*>(rows.blocks);
        const quant::DecodeFn decode = find_row_decoder(w_.type, kernels_.isa);
        const std::int64_t n_values = w_.row_values();
        for (int r = 0; r < rows.n; ++r)
            decode(rows.blocks + r * row_bytes_, scratch_ + r * n_values, n_values);
        return scratch_;
    }

    // dot reads the rows as they stand.
    template <class Dot, class IndexOf, class Store>
    void multiply_rows_by_floats(const Rows& rows, Dot dot, std::int64_t n_vectors, ConstMatrixView x,
                                 IndexOf&& index, Store&& store) const noexcept {
        for (std::int64_t j = 0; j < n_vectors; ++j) {
            const float* one = x.row(index(j));
            float dots[kTileRows] = {};
            for (int r = 0; r < rows.n; ++r)
                dots[r] = dot(rows.blocks + r * row_bytes_, one, w_.row_values());
            store(j, rows.first, static_cast<const float*>(dots), rows.n);
        }
    }

    template <class IndexOf, class Store>
    void multiply_floats(const Rows& rows, std::int64_t n_vectors, ConstMatrixView x, IndexOf&& index,
                         Store&& store) const noexcept {
        const std::int64_t n_values = w_.row_values();
        const float* floats_of_rows = floats(rows);
        std::int64_t j = 0;
        for (; j + kVectors <= n_vectors; j += kVectors) {
            const float* four[kVectors];
            for (int v = 0; v < kVectors; ++v) four[v] = x.row(index(j + v));
            float dots[kVectors][kTileRows] = {};
            for (int r = 0; r < rows.n; ++r) {
                float of_row[kVectors];
                kernels_.dot_f32_x4(floats_of_rows + r * n_values, four, n_values, of_row);
                for (int v = 0; v < kVectors; ++v) dots[v][r] = of_row[v];
            }
            for (int v = 0; v < kVectors; ++v)
                store(j + v, rows.first, static_cast<const float*>(dots[v]), rows.n);
        }
        for (; j < n_vectors; ++j) {
            const float* one = x.row(index(j));
            float dots[kTileRows] = {};
            for (int r = 0; r < rows.n; ++r)
                dots[r] = kernels_.dot_f32(floats_of_rows + r * n_values, one, n_values);
            store(j, rows.first, static_cast<const float*>(dots), rows.n);
        }
    }

    const Kernels& kernels_;
    const QuantDot* quant_dot_;
    Planes planes_;
    TensorView w_;
    std::int64_t row_bytes_;  // of w; found once
    std::int64_t first_;
    std::int64_t last_;
    float* scratch_;  // room for a tile in float32, or for its products
};

}  // namespace greenroom::cpu
