#pragma once

// Encoding rows of float32 for the cache of keys and values (quant/encode.h) with SIMD instructions.

#include "cpu/isa.h"
#include "quant/encode.h"

namespace greenroom::cpu {

// An encoder for this ISA, byte for byte what quant::find_encoder gives: of its own for F16, BF16, Q8_0 and
// Q4_0.
quant::EncodeFn find_row_encoder(quant::Type type, Isa isa) noexcept;

// The same for the ISA that was selected (see isa.h).
quant::EncodeFn find_row_encoder(quant::Type type);

}  // namespace greenroom::cpu
