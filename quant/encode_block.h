#pragma once

// One block at a time: the encoders that encode.h applies to rows. x has Block::kValues values; every byte of
// the block is written. What becomes of infinities and NaN is said in encode.h.

#include "quant/blocks.h"

namespace greenroom::quant {

// encode.cpp
void encode_block(const float* x, BlockQ8_0& block) noexcept;
void encode_block(const float* x, BlockQ8K& block) noexcept;
void encode_block(const float* x, BlockQ4_0& block) noexcept;

// encode_q4_k.cpp
void encode_block(const float* x, BlockQ4K& block) noexcept;

}  // namespace greenroom::quant
