#pragma once

// Activations as integers: what the kernels of quantized weights (dot_quant.h) multiply with.
//
// A row of n values becomes ceil(n / 256) blocks; what is left of the last one is zero. A block holds two
// planes of signed bytes and one scale, a float32:
//
//     x ≈ scale · (128 · high + low),  scale = the largest |x| / (127 · 128),  |error| <= scale / 2
//     x ≈ scale · 128 · high,                                                  |error| <= 64.5 · scale
//
// So a product takes 8 bits (one plane) or 15 (two), whichever it needs, from the same block. One layout
// serves the weights of every type, so a row is quantized once for all matrices that it meets. (ggml has
// three layouts, all of 8 bits: float16 scales per 32 values for the small blocks, one float32 scale per 256
// for the K-quants.)

#include "cpu/buffer.h"
#include "cpu/parallel.h"
#include "quant/base/matrix_view.h"

#include <cassert>
#include <cstdint>

namespace greenroom::cpu {

// How many planes of its activations a product reads.
enum class Planes { high, both };

// The same for the products of a model: of what every token passes, and of experts.
struct ProductPlanes {
    Planes resident = Planes::both;
    Planes experts = Planes::both;
};

// Ten cache lines, of which a product with the high plane alone touches six.
struct alignas(64) ActivationBlock {
    static constexpr int kValues = 256;
    static constexpr int kPlanes = 2;
    static constexpr int kLargest = 127 * 128;
    static constexpr int kGroup = 16;  // values of a sum
    static constexpr int kGroups = kValues / kGroup;
    std::int8_t planes[kPlanes][kValues];  // high, |high| <= 127, and low, −64 … 63
    std::int16_t sums[kPlanes][kGroups];   // Σ over 16 values, for weights with a minimum or an offset
    std::int16_t wide_sums[kPlanes][kGroups / 2];  // Σ over 32
    float scale;

    // What a plane's integers are multiplied by.
    float plane_scale(int plane) const noexcept { return plane == 0 ? 128.0F * scale : scale; }
    int value(int i) const noexcept { return 128 * planes[0][i] + planes[1][i]; }
};
static_assert(sizeof(ActivationBlock) == 640);

constexpr std::int64_t activation_blocks(std::int64_t n_values) noexcept {
    return (n_values + ActivationBlock::kValues - 1) / ActivationBlock::kValues;
}

// Rows of blocks, seen and not owned; `stride` blocks from row to row.
struct ActivationRows {
    ActivationBlock* data = nullptr;
    std::int64_t stride = 0;

    ActivationBlock* row(std::int64_t r) const noexcept { return data + r * stride; }
};

// Memory for the quantized activations of one product at a time, reserved up front, and how much of them a
// product reads. Empty, it says that products are to be computed in float32.
class ActivationBuffer {
  public:
    ActivationBuffer() = default;
    explicit ActivationBuffer(std::int64_t n_blocks, ProductPlanes planes = {})
        : buffer_(n_blocks * kBlockFloats), n_blocks_(n_blocks), planes_(planes) {}

    bool empty() const noexcept { return n_blocks_ == 0; }
    ProductPlanes planes() const noexcept { return planes_; }

    // Rows for n_rows · activation_blocks(n_values) blocks from block `first` on; what earlier rows held
    // there is lost.
    ActivationRows rows(std::int64_t n_rows, std::int64_t n_values, std::int64_t first = 0) const noexcept {
        const std::int64_t stride = activation_blocks(n_values);
        assert(first + n_rows * stride <= n_blocks_);
        static_cast<void>(n_rows);
        return {reinterpret_cast<ActivationBlock*>(buffer_.data()) + first, stride};
    }

  private:
    static constexpr auto kBlockFloats = static_cast<std::int64_t>(sizeof(ActivationBlock) / sizeof(float));

    Buffer buffer_;
    std::int64_t n_blocks_ = 0;
    ProductPlanes planes_;
};

// Quantizes every row of x into the row of `rows` with the same number. 256 values that hold a NaN or an
// infinity get the scale NaN, so that products with them are NaN as they would be in float32; 256 that are
// all below 2^-113 in magnitude become zero.
void quantize_rows(ThreadTeam& team, ActivationRows rows, ConstMatrixView x);

// The same where a row of x holds n_heads vectors of n_values, head_stride floats from one to the next: head
// h of row t becomes row t · n_heads + h.
void quantize_heads(ThreadTeam& team, ActivationRows rows, ConstMatrixView x, std::int64_t n_heads,
                    std::int64_t n_values, std::int64_t head_stride);

// The kernel of quantize_rows(): one row. The same bits on every ISA.
void quantize_row_scalar(ActivationBlock* blocks, const float* x, std::int64_t n_values) noexcept;
void quantize_row_avx2(ActivationBlock* blocks, const float* x, std::int64_t n_values) noexcept;
void quantize_row_avx512(ActivationBlock* blocks, const float* x, std::int64_t n_values) noexcept;

}  // namespace greenroom::cpu
