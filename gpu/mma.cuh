#pragma once

// Tensor-core products of a warp: 16 × 16 tiles of sums += A · B, A and B half floats, sums float32. All
// lanes of a warp call these together. What a lane holds of a tile is the device's business.
//
// Products are exact and sums of four of them (eight, sixteen on later devices) are rounded in a way that is
// the device's own, at least as exactly as float32 truncates; from tile to tile sums are float32.

#include "gpu/device.cuh"

#include <mma.h>

namespace greenroom::gpu {

constexpr int kMmaSize = 16;

using MmaA = nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, kMmaSize, kMmaSize, kMmaSize, __half,
                                    nvcuda::wmma::row_major>;
using MmaTransposedA = nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, kMmaSize, kMmaSize, kMmaSize, __half,
                                              nvcuda::wmma::col_major>;
using MmaB = nvcuda::wmma::fragment<nvcuda::wmma::matrix_b, kMmaSize, kMmaSize, kMmaSize, __half,
                                    nvcuda::wmma::col_major>;
using MmaSum = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, kMmaSize, kMmaSize, kMmaSize, float>;

// A's element (row, k) at from[row · stride + k], transposed at from[k · stride + row]; B's (k, column) at
// from[column · stride + k]. from is a multiple of 32 bytes, the stride of 16.
GR_DEVICE void mma_load(MmaA& a, const std::uint16_t* from, int stride) {
    nvcuda::wmma::load_matrix_sync(a, reinterpret_cast<const __half*>(from), static_cast<unsigned>(stride));
}
GR_DEVICE void mma_load(MmaTransposedA& a, const std::uint16_t* from, int stride) {
    nvcuda::wmma::load_matrix_sync(a, reinterpret_cast<const __half*>(from), static_cast<unsigned>(stride));
}
GR_DEVICE void mma_load(MmaB& b, const std::uint16_t* from, int stride) {
    nvcuda::wmma::load_matrix_sync(b, reinterpret_cast<const __half*>(from), static_cast<unsigned>(stride));
}
GR_DEVICE void mma_zero(MmaSum& sum) { nvcuda::wmma::fill_fragment(sum, 0.0F); }
template <class A>
GR_DEVICE void mma_add(MmaSum& sum, const A& a, const MmaB& b) {
    nvcuda::wmma::mma_sync(sum, a, b, sum);
}
// Element (row, column) goes to to[column · stride + row].
GR_DEVICE void mma_store_by_columns(float* to, const MmaSum& sum, int stride) {
    nvcuda::wmma::store_matrix_sync(to, sum, static_cast<unsigned>(stride), nvcuda::wmma::mem_col_major);
}

}  // namespace greenroom::gpu
