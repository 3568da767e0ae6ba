#pragma once

// The rotary embedding on the GPU: cpu/elementwise.h has the same two operations for the CPU. Launchers only
// enqueue; views and spans are of memory that the device can read.

#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

#include <cstdint>
#include <span>

namespace greenroom::gpu {

class Stream;
struct StepState;

// out[t] = cos θ_0, sin θ_0, cos θ_1, … with θ_i = positions[t] · frequencies[i], each multiplied by
// `magnitude` (Su et al. 2021, arXiv:2104.09864, eq. 34).  out: [n_tokens, 2 · frequencies.size()].
void rope_angles(Stream& stream, MatrixView out, std::span<const std::int32_t> positions,
                 std::span<const float> frequencies, float magnitude);

// The same for tokens at step->first_position, step->first_position + 1, …  step: device memory, read when
// the kernel runs, so that a captured graph can be launched at other positions.
void rope_angles(Stream& stream, MatrixView out, const StepState* step, std::span<const float> frequencies,
                 float magnitude);

// Rotates angles.n_cols values in each of n_heads heads of a row: head h is read at x + h · x_stride and
// written at out + h · out_stride. In place when both are the same.
void rope(Stream& stream, MatrixView out, std::int64_t out_stride, ConstMatrixView x, std::int64_t x_stride,
          int n_heads, ConstMatrixView angles, RopePairing pairing);

}  // namespace greenroom::gpu
