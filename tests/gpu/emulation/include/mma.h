#pragma once

// Tensor-core products of a warp, D = A · B + C with 16 × 16 × 16 half values and float sums, in plain
// arithmetic.
//
// Lane l holds row l / 2 of A, columns 8 · (l % 2) … + 7 of B and those of that row of C, so that a lane can
// do its part alone. (The device spreads them otherwise; which values a lane holds is not specified, so
// nobody may ask.) Products are exact and summed in float32 in the order of k, where the device's order is
// its own.

#include <cuda_fp16.h>

#include <cstddef>

namespace nvcuda::wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int m, int n, int k, class T, class Layout = void>
struct fragment;

template <class Layout>
struct fragment<matrix_a, 16, 16, 16, __half, Layout> {
    float row[16];
};
template <class Layout>
struct fragment<matrix_b, 16, 16, 16, __half, Layout> {
    float columns[16][8];
};
template <>
struct fragment<accumulator, 16, 16, 16, float> {
    static constexpr int num_elements = 8;
    float x[num_elements];
};

namespace lane {
inline std::size_t row() { return threadIdx.x % 32 / 2; }
inline std::size_t first_column() { return threadIdx.x % 2 * 8; }
template <class Layout>
std::size_t offset(std::size_t row, std::size_t column, unsigned stride) {
    return std::is_same_v<Layout, row_major> ? row * stride + column : column * stride + row;
}
}  // namespace lane

template <class Layout>
void load_matrix_sync(fragment<matrix_a, 16, 16, 16, __half, Layout>& a, const __half* from,
                      unsigned stride) {
    for (std::size_t k = 0; k < 16; ++k)
        a.row[k] = __half2float(from[lane::offset<Layout>(lane::row(), k, stride)]);
}
template <class Layout>
void load_matrix_sync(fragment<matrix_b, 16, 16, 16, __half, Layout>& b, const __half* from,
                      unsigned stride) {
    for (std::size_t k = 0; k < 16; ++k)
        for (std::size_t column = 0; column < 8; ++column)
            b.columns[k][column] =
                __half2float(from[lane::offset<Layout>(k, lane::first_column() + column, stride)]);
}
inline void load_matrix_sync(fragment<accumulator, 16, 16, 16, float>& c, const float* from, unsigned stride,
                             layout_t layout) {
    for (std::size_t i = 0; i < 8; ++i) {
        const std::size_t column = lane::first_column() + i;
        c.x[i] =
            from[layout == mem_row_major ? lane::row() * stride + column : column * stride + lane::row()];
    }
}
inline void fill_fragment(fragment<accumulator, 16, 16, 16, float>& c, float value) {
    for (float& x : c.x) x = value;
}
template <class LayoutA, class LayoutB>
void mma_sync(fragment<accumulator, 16, 16, 16, float>& d,
              const fragment<matrix_a, 16, 16, 16, __half, LayoutA>& a,
              const fragment<matrix_b, 16, 16, 16, __half, LayoutB>& b,
              const fragment<accumulator, 16, 16, 16, float>& c, greenroom::emulation::Place place = {}) {
    greenroom::emulation::exchange(0xffffffffU, 0, "mma_sync()", place);
    for (std::size_t i = 0; i < 8; ++i) {
        float sum = c.x[i];
        for (std::size_t k = 0; k < 16; ++k) sum += a.row[k] * b.columns[k][i];
        d.x[i] = sum;
    }
}
inline void store_matrix_sync(float* to, const fragment<accumulator, 16, 16, 16, float>& c, unsigned stride,
                              layout_t layout) {
    for (std::size_t i = 0; i < 8; ++i) {
        const std::size_t column = lane::first_column() + i;
        to[layout == mem_row_major ? lane::row() * stride + column : column * stride + lane::row()] = c.x[i];
    }
}

}  // namespace nvcuda::wmma
