#pragma once

// Decoding rows of weights, or of cached keys and values, to float32 (quant/decode.h) with SIMD instructions.

#include "cpu/isa.h"
#include "quant/decode.h"

namespace greenroom::cpu {

// A decoder for this ISA, bit for bit what quant::find_decoder gives: of its own for F16, BF16, Q8_0 and
// Q4_0.
quant::DecodeFn find_row_decoder(quant::Type type, Isa isa) noexcept;

// The same for the ISA that was selected (see isa.h).
quant::DecodeFn find_row_decoder(quant::Type type);

}  // namespace greenroom::cpu
