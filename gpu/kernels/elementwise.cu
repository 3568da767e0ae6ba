// Norms: a block of 256 threads per row; thread i takes the values i, i + 256, … of it.
// Everything else: a thread per value, blocks of 256 along the columns, the grid's y along the rows (each
// block strides over them where there are more than 65535).

#include "gpu/kernels/elementwise.h"

#include "gpu/device.cuh"
#include "gpu/kernels/glu.cuh"
#include "gpu/launch_check.h"

#include <algorithm>

namespace greenroom::gpu {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    rms_norm_kernel(MatrixView out, ConstMatrixView x, const float* weight, float eps) {
    __shared__ float partial[kWarpSize];
    const float* in = row_of(x, blockIdx.x);
    float* to = row_of(out, blockIdx.x);
    float sum = 0;
    for (std::int64_t i = threadIdx.x; i < x.n_cols; i += kThreads) sum += in[i] * in[i];
    sum = block_sum(sum, partial);
    const float factor = 1.0F / sqrtf(sum / static_cast<float>(x.n_cols) + eps);
    for (std::int64_t i = threadIdx.x; i < x.n_cols; i += kThreads)
        to[i] = weight == nullptr ? in[i] * factor : in[i] * factor * weight[i];
}

// The mean first, then the squares of the differences to it: a variance from sums of squares cancels.
__global__ void __launch_bounds__(kThreads)
    layer_norm_kernel(MatrixView out, ConstMatrixView x, const float* weight, const float* bias, float eps) {
    __shared__ float partial[kWarpSize];
    const float* in = row_of(x, blockIdx.x);
    float* to = row_of(out, blockIdx.x);
    const auto n = static_cast<float>(x.n_cols);
    float sum = 0;
    for (std::int64_t i = threadIdx.x; i < x.n_cols; i += kThreads) sum += in[i];
    const float mean = block_sum(sum, partial) / n;
    float squares = 0;
    for (std::int64_t i = threadIdx.x; i < x.n_cols; i += kThreads)
        squares += (in[i] - mean) * (in[i] - mean);
    const float factor = 1.0F / sqrtf(block_sum(squares, partial) / n + eps);
    for (std::int64_t i = threadIdx.x; i < x.n_cols; i += kThreads)
        to[i] = (in[i] - mean) * factor * weight[i] + bias[i];
}

// What the others do with one value x at (row, column).

struct JoinGlu {
    ConstMatrixView up;
    Glu kind;
    GR_DEVICE float operator()(float x, std::int64_t r, std::int64_t c) const {
        return join_glu(kind, x, row_of(up, r)[c]);
    }
};

struct AddBias {
    const float* bias;
    GR_DEVICE float operator()(float x, std::int64_t, std::int64_t c) const { return x + bias[c]; }
};

struct Scale {
    float factor;
    GR_DEVICE float operator()(float x, std::int64_t, std::int64_t) const { return x * factor; }
};

struct ScaleRows {
    const float* factors;
    GR_DEVICE float operator()(float x, std::int64_t r, std::int64_t) const { return x * factors[r]; }
};

struct GateRows {
    ConstMatrixView gate;
    GR_DEVICE float operator()(float x, std::int64_t r, std::int64_t) const {
        return x * sigmoid(*row_of(gate, r));
    }
};

struct Gate {
    ConstMatrixView logits;
    GR_DEVICE float operator()(float x, std::int64_t r, std::int64_t c) const {
        return x * sigmoid(row_of(logits, r)[c]);
    }
};

struct Add {
    ConstMatrixView y;
    GR_DEVICE float operator()(float x, std::int64_t r, std::int64_t c) const { return x + row_of(y, r)[c]; }
};

struct Same {
    GR_DEVICE float operator()(float x, std::int64_t, std::int64_t) const { return x; }
};

template <class Op>
__global__ void __launch_bounds__(kThreads) map_kernel(MatrixView to, ConstMatrixView x, Op op) {
    const std::int64_t c = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (c >= to.n_cols) return;
    for (std::int64_t r = blockIdx.y; r < to.n_rows; r += gridDim.y)
        row_of(to, r)[c] = op(row_of(x, r)[c], r, c);
}

bool same_shape(ConstMatrixView a, ConstMatrixView b) { return a.n_rows == b.n_rows && a.n_cols == b.n_cols; }

template <class Op>
void map(const char* name, Stream& stream, MatrixView to, ConstMatrixView x, Op op) {
    const dim3 grid(static_cast<unsigned>(ceil_div<std::int64_t>(to.n_cols, kThreads)),
                    static_cast<unsigned>(std::min<std::int64_t>(to.n_rows, 65535)));
    launch(name, map_kernel<Op>, grid, kThreads, 0, stream, to, x, op);
}

}  // namespace

void rms_norm(Stream& stream, MatrixView out, ConstMatrixView x, const float* weight, float eps) {
    GR_LAUNCH_CHECK(same_shape(out, x));
    launch("rms_norm", rms_norm_kernel, static_cast<unsigned>(x.n_rows), kThreads, 0, stream, out, x, weight,
           eps);
}

void layer_norm(Stream& stream, MatrixView out, ConstMatrixView x, const float* weight, const float* bias,
                float eps) {
    GR_LAUNCH_CHECK(same_shape(out, x));
    launch("layer_norm", layer_norm_kernel, static_cast<unsigned>(x.n_rows), kThreads, 0, stream, out, x,
           weight, bias, eps);
}

void glu(Stream& stream, MatrixView gate, ConstMatrixView up, Glu kind) {
    GR_LAUNCH_CHECK(same_shape(gate, up));
    map("glu", stream, gate, gate, JoinGlu{up, kind});
}

void add_bias(Stream& stream, MatrixView x, const float* bias) {
    map("add_bias", stream, x, x, AddBias{bias});
}

void scale(Stream& stream, MatrixView x, float factor) { map("scale", stream, x, x, Scale{factor}); }

void scale_rows(Stream& stream, MatrixView x, const float* factors) {
    map("scale_rows", stream, x, x, ScaleRows{factors});
}

void gate_rows(Stream& stream, MatrixView x, ConstMatrixView gate) {
    GR_LAUNCH_CHECK(gate.n_rows == x.n_rows && gate.n_cols == 1);
    map("gate_rows", stream, x, x, GateRows{gate});
}

void gate(Stream& stream, MatrixView x, ConstMatrixView logits) {
    GR_LAUNCH_CHECK(same_shape(x, logits));
    map("gate", stream, x, x, Gate{logits});
}

void add(Stream& stream, MatrixView x, ConstMatrixView y) {
    GR_LAUNCH_CHECK(same_shape(x, y));
    map("add", stream, x, x, Add{y});
}

void copy(Stream& stream, MatrixView to, ConstMatrixView from) {
    GR_LAUNCH_CHECK(same_shape(to, from));
    map("copy", stream, to, from, Same{});
}

}  // namespace greenroom::gpu
