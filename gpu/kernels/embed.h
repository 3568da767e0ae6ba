#pragma once

// Token embeddings on the GPU. The launcher only enqueues; views are of device memory.

#include "quant/base/matrix_view.h"
#include "quant/base/tensor_view.h"

#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;

// out[t] = row ids[t] of the table, decoded: the bits of quant/decode.  table: [n_vocab rows, d_model], of
// any weight type; ids: n_tokens numbers of rows, read when the kernel runs; out: [n_tokens, d_model].
void embed(Stream& stream, MatrixView out, const TensorView& table, std::span<const std::int32_t> ids);

}  // namespace greenroom::gpu
