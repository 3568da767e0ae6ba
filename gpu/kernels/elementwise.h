#pragma once

// The small operations between the products, on the GPU: what cpu/elementwise.h offers, under the same names.
// All on float32 in device memory, row by row; formulas stand at the CPU's declarations.
//
// Each only enqueues one kernel. Reading and writing each value once bounds all of them: n_rows · n_cols · 8
// to 12 bytes at the bandwidth of the memory; for a single row, the launch. Weights, biases and factors are
// device pointers. Norms sum in float32, each thread every 256th value and then a tree, and are within 4e-7
// of the CPU's, relative to the row's largest result; everything else differs by the last bit or two of e^x.

#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"

namespace greenroom::gpu {

class Stream;

// weight: n_cols values, or nullptr for ones. out may be x.
void rms_norm(Stream& stream, MatrixView out, ConstMatrixView x, const float* weight, float eps);

// weight, bias: n_cols values. out may be x.
void layer_norm(Stream& stream, MatrixView out, ConstMatrixView x, const float* weight, const float* bias,
                float eps);

// gate ← the two halves of a gated network joined.
void glu(Stream& stream, MatrixView gate, ConstMatrixView up, Glu kind);

// x[t] ← x[t] + bias, for every row.  bias: n_cols values.
void add_bias(Stream& stream, MatrixView x, const float* bias);

// x ← factor · x.
void scale(Stream& stream, MatrixView x, float factor);

// x[t] ← factors[t] · x[t].  factors: n_rows values.
void scale_rows(Stream& stream, MatrixView x, const float* factors);

// x[t] ← sigmoid(gate[t]) · x[t].  gate: one column.
void gate_rows(Stream& stream, MatrixView x, ConstMatrixView gate);

// x ← sigmoid(logits) · x, value by value.
void gate(Stream& stream, MatrixView x, ConstMatrixView logits);

// x ← x + y.
void add(Stream& stream, MatrixView x, ConstMatrixView y);

// to ← from, row by row.
void copy(Stream& stream, MatrixView to, ConstMatrixView from);

}  // namespace greenroom::gpu
