#pragma once

// Writing of cached keys and values (quant/base/kv_rows.h) on the CPU.

#include "cpu/parallel.h"
#include "quant/base/kv_rows.h"
#include "quant/base/matrix_view.h"

#include <cstdint>

namespace greenroom::cpu {

// Writes rows of floats, those of all heads side by side, as the rows of positions first_position,
// first_position + 1, …
void store_rows(ThreadTeam& team, const KvRows& rows, std::int64_t first_position, ConstMatrixView from);

}  // namespace greenroom::cpu
