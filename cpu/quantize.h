#pragma once

// Activations as integers: what the kernels of quantized weights (dot_quant.h) multiply with.
//
// A row of n values becomes ceil(n / 256) blocks; what is left of the last one is zero. A block has one
// scale, a float32: x ≈ scale · q, |q| <= 8191, scale = the largest |x| / 8191, so |x - scale · q| <= scale
// / 2. One layout serves the weights of every type, so a row is quantized once for all matrices that it
// meets. (ggml has three layouts, all of 8 bits: float16 scales per 32 values for the small blocks, one
// float32 scale per 256 for the K-quants.)
//
// Why 14 bits: they cost next to nothing where the weights come from memory, and in a prompt two of them
// beside each other fill a lane of the multiplier as four bytes would; but with 8 bits each group of 16 or 32
// values needs a scale and float arithmetic of its own to be as good. And 14 are the most for which a
// super-block's products with the integer scales of its weights add up in 32 bits (dot_quant.h).

#include "cpu/buffer.h"
#include "cpu/parallel.h"
#include "quant/base/matrix_view.h"

#include <cassert>
#include <cstdint>

namespace greenroom::cpu {

// Ten cache lines: 2.5 bytes per value.
struct alignas(64) ActivationBlock {
    static constexpr int kValues = 256;
    static constexpr int kLargest = 8191;
    static constexpr int kGroup = 16;  // values of a sum
    static constexpr int kGroups = kValues / kGroup;
    std::int16_t q[kValues];
    std::int32_t sums[kGroups];  // Σq, for weights with a minimum or an offset
    float scale;
};
static_assert(sizeof(ActivationBlock) == 640);

inline std::int64_t activation_blocks(std::int64_t n_values) noexcept {
    return (n_values + ActivationBlock::kValues - 1) / ActivationBlock::kValues;
}

// Rows of blocks, seen and not owned; `stride` blocks from row to row.
struct ActivationRows {
    ActivationBlock* data = nullptr;
    std::int64_t stride = 0;

    ActivationBlock* row(std::int64_t r) const noexcept { return data + r * stride; }
};

// Memory for the quantized activations of one product at a time, reserved up front. Empty, it says that
// products are to be computed in float32.
class ActivationBuffer {
  public:
    ActivationBuffer() = default;
    explicit ActivationBuffer(std::int64_t n_blocks)
        : buffer_(n_blocks * kBlockFloats), n_blocks_(n_blocks) {}

    bool empty() const noexcept { return n_blocks_ == 0; }

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

}  // namespace greenroom::cpu
