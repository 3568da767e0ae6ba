#pragma once

// TensorView: a quantized or float tensor, seen and not owned. The bytes lie in native ggml blocks, row after
// row.

#include "quant/types.h"

#include <array>
#include <cstddef>
#include <cstdint>

namespace greenroom {

struct TensorView {
    quant::Type type = quant::Type::F32;
    int n_dims = 0;
    // In ggml's order: shape[0] values make a row, shape[1] rows a matrix, shape[2] matrices (heads, experts)
    // a stack. Unused dimensions are 1.
    std::array<std::int64_t, 4> shape{1, 1, 1, 1};
    const std::byte* data =
        nullptr;  // not aligned beyond the file's alignment; lives as long as what it was cut from
    std::int64_t stack_rows = 0;  // rows from one matrix of a stack to the next; 0: shape[1]

    std::int64_t row_values() const noexcept { return shape[0]; }
    std::int64_t n_rows() const noexcept { return shape[1] * shape[2] * shape[3]; }
    std::int64_t n_values() const noexcept { return shape[0] * n_rows(); }
    std::int64_t row_bytes() const noexcept { return quant::row_bytes(type, shape[0]); }
    std::int64_t bytes() const noexcept { return row_bytes() * n_rows(); }

    // Row r of a matrix; of a stack too, unless it was cut by rows_of_each().
    const std::byte* row(std::int64_t r) const noexcept { return data + r * row_bytes(); }

    // Matrix i of a stack: shape [shape[0], shape[1]]. 0 <= i < shape[2].
    TensorView matrix(std::int64_t i) const noexcept {
        TensorView m{type, 2, {shape[0], shape[1], 1, 1}, data};
        m.data += i * (stack_rows > 0 ? stack_rows : shape[1]) * row_bytes();
        return m;
    }

    // Rows [first, first + count) of every matrix of a stack.
    TensorView rows_of_each(std::int64_t first, std::int64_t count) const noexcept {
        TensorView part = *this;
        part.stack_rows = stack_rows > 0 ? stack_rows : shape[1];
        part.shape[1] = count;
        part.data += first * row_bytes();
        return part;
    }
};

}  // namespace greenroom
