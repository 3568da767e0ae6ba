#pragma once

// Writing of cached keys and values (quant/base/kv_rows.h) on the GPU.

#include "quant/base/kv_rows.h"
#include "quant/base/matrix_view.h"

#include <cstdint>

namespace greenroom::gpu {

class Stream;
struct StepState;

// Writes rows of floats as the rows of positions step->first_position, step->first_position + 1, …, in a ring
// too, with the bytes that cpu::store_rows gives. Types F32, F16, BF16, Q8_0, Q4_0 (GR_CHECK). from:
// [n_tokens, rows.n_heads · rows.n_values], n_tokens <= rows.n_rows. step: device memory, read when the
// kernel runs.
void store_rows(Stream& stream, const KvRows& rows, const StepState* step, ConstMatrixView from);

}  // namespace greenroom::gpu
