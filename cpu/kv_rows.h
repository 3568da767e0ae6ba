#pragma once

// Reading and writing of cached keys and values (quant/base/kv_rows.h) on the CPU.

#include "cpu/isa.h"
#include "quant/base/kv_rows.h"
#include "quant/base/matrix_view.h"
#include "quant/decode.h"

#include <cstdint>

namespace greenroom::cpu {

// A decoder of F16, BF16, Q8_0 or Q4_0 blocks for this ISA, bit for bit what quant::find_decoder gives, which
// it is for other types.
quant::DecodeFn find_kv_decoder(quant::Type type, Isa isa) noexcept;

// The same for the ISA that was selected (see isa.h).
quant::DecodeFn find_kv_decoder(quant::Type type);

// Writes rows of floats as the rows of positions first_position, first_position + 1, …
void store_rows(const KvRows& rows, std::int64_t first_position, ConstMatrixView from);

}  // namespace greenroom::cpu
