#pragma once

// MatrixView: float32 activations, seen and not owned: n_rows rows (usually one per token) of n_cols values,
// `stride` floats from row to row. The pointer belongs to the memory of the device that works on it.

#include <cassert>
#include <cstdint>
#include <span>
#include <type_traits>

namespace greenroom {

template <class T>
struct BasicMatrixView {
    T* data = nullptr;
    std::int64_t n_rows = 0;
    std::int64_t n_cols = 0;
    std::int64_t stride = 0;

    T* row(std::int64_t r) const noexcept { return data + r * stride; }
    std::span<T> row_span(std::int64_t r) const noexcept {
        return {row(r), static_cast<std::size_t>(n_cols)};
    }

    // Columns [first, first + count) of every row.
    BasicMatrixView columns(std::int64_t first, std::int64_t count) const noexcept {
        assert(first >= 0 && count >= 0 && first + count <= n_cols);
        return {data + first, n_rows, count, stride};
    }

    // Rows [first, first + count).
    BasicMatrixView rows(std::int64_t first, std::int64_t count) const noexcept {
        assert(first >= 0 && count >= 0 && first + count <= n_rows);
        return {data + first * stride, count, n_cols, stride};
    }

    operator BasicMatrixView<const T>() const noexcept requires(!std::is_const_v<T>) {
        return {data, n_rows, n_cols, stride};
    }
};

using MatrixView = BasicMatrixView<float>;
using ConstMatrixView = BasicMatrixView<const float>;

}  // namespace greenroom
