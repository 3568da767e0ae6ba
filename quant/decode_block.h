#pragma once

// What a block means: one function per format, from a block to its Block::kValues float32 values, in order.
// These are the definitions that decode.h applies to rows and that the scalar references of kernels may use.
// The block may lie anywhere (Q8_K: aligned to 4); y doesn't overlap it.

#include "quant/blocks.h"

namespace greenroom::quant {

// decode_basic.cpp: one scale per block or group, and the ternary types.
void decode_block(const BlockQ4_0& block, float* y) noexcept;
void decode_block(const BlockQ4_1& block, float* y) noexcept;
void decode_block(const BlockQ5_0& block, float* y) noexcept;
void decode_block(const BlockQ5_1& block, float* y) noexcept;
void decode_block(const BlockQ8_0& block, float* y) noexcept;
void decode_block(const BlockQ1_0& block, float* y) noexcept;
void decode_block(const BlockQ2_0& block, float* y) noexcept;
void decode_block(const BlockMXFP4& block, float* y) noexcept;
void decode_block(const BlockNVFP4& block, float* y) noexcept;
void decode_block(const BlockTQ1_0& block, float* y) noexcept;
void decode_block(const BlockTQ2_0& block, float* y) noexcept;

// decode_k.cpp: super-blocks with quantized scales.
void decode_block(const BlockQ2K& block, float* y) noexcept;
void decode_block(const BlockQ3K& block, float* y) noexcept;
void decode_block(const BlockQ4K& block, float* y) noexcept;
void decode_block(const BlockQ5K& block, float* y) noexcept;
void decode_block(const BlockQ6K& block, float* y) noexcept;
void decode_block(const BlockQ8K& block, float* y) noexcept;

// decode_iq.cpp: values looked up in a table.
void decode_block(const BlockIQ1S& block, float* y) noexcept;
void decode_block(const BlockIQ1M& block, float* y) noexcept;
void decode_block(const BlockIQ2XXS& block, float* y) noexcept;
void decode_block(const BlockIQ2XS& block, float* y) noexcept;
void decode_block(const BlockIQ2S& block, float* y) noexcept;
void decode_block(const BlockIQ3XXS& block, float* y) noexcept;
void decode_block(const BlockIQ3S& block, float* y) noexcept;
void decode_block(const BlockIQ4NL& block, float* y) noexcept;
void decode_block(const BlockIQ4XS& block, float* y) noexcept;

}  // namespace greenroom::quant
