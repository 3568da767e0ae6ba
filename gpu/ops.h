#pragma once

// gpu::Ops: the operations of a forward pass on the GPU. Satisfies runtime/ops_concept.h, where each
// operation is described; the work is in gpu/kernels. Every call only enqueues, in one stream, except wait(),
// read_back() and begin_batch(); after an Error{device} from any of them nothing more can be expected of the
// device.
//
// Matrices, weights, cached rows and states are device memory; HostArrays are pinned memory of the host,
// which kernels read and write in place. Used by one thread at a time, with the device current that it was
// made on.

#include "gpu/kernels/attention.h"
#include "gpu/kernels/deltanet.h"
#include "gpu/kernels/elementwise.h"
#include "gpu/kernels/embed.h"
#include "gpu/kernels/indexer.h"
#include "gpu/kernels/kv_rows.h"
#include "gpu/kernels/matmul.h"
#include "gpu/kernels/mla.h"
#include "gpu/kernels/rope.h"
#include "gpu/kernels/router.h"
#include "gpu/memory.h"
#include "gpu/step_state.h"
#include "gpu/stream.h"
#include "quant/base/product.h"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

namespace greenroom::gpu {

// float32 device memory of its own.
class FloatBuffer {
  public:
    FloatBuffer() = default;
    FloatBuffer(DeviceBudget& budget, std::int64_t n_floats, std::string_view what)
        : memory_(budget, n_floats * static_cast<std::int64_t>(sizeof(float)), what) {}

    float* data() const noexcept { return memory_.as<float>(); }
    std::int64_t size() const noexcept { return memory_.bytes() / static_cast<std::int64_t>(sizeof(float)); }

  private:
    DeviceBuffer memory_;
};

// Pinned memory of the host that kernels reach.
template <class Value>
class HostArray {
  public:
    HostArray() = default;
    HostArray(std::int64_t n, std::string_view what)
        : memory_(n * static_cast<std::int64_t>(sizeof(Value)), what) {}

    Value* data() const noexcept { return memory_.as<Value>(); }
    std::int64_t size() const noexcept { return memory_.bytes() / static_cast<std::int64_t>(sizeof(Value)); }

  private:
    PinnedBuffer memory_;
};

struct OpsOptions {
    Activations activations = Activations::int8;  // of products with quantized weights
    std::int64_t scratch_bytes = 0;               // what the launchers of gpu/kernels ask for, at most
    std::int64_t read_back_floats = 0;            // of the largest matrix that is read back
};

class Ops {
  public:
    using Buffer = FloatBuffer;
    template <class Value>
    using HostArray = gpu::HostArray<Value>;

    // All device memory comes from the budget, which must outlive the Ops and their Buffers.
    Ops(DeviceBudget& budget, const OpsOptions& options);

    Stream& stream() noexcept { return stream_; }
    // Of the batch in hand, in device memory.
    const StepState* step() const noexcept { return step_.as<StepState>(); }
    std::uint32_t step_number() const noexcept { return next_step_.data()->step; }
    Activations activations() const noexcept { return activations_; }
    // All of it, for one operation at a time of this stream.
    template <class Value = std::byte>
    std::span<Value> scratch() const noexcept {
        return {scratch_.as<Value>(), static_cast<std::size_t>(scratch_.bytes()) / sizeof(Value)};
    }

    Buffer allocate(std::int64_t n_floats);
    template <class Value>
    HostArray<Value> allocate_host(std::int64_t n) {
        return HostArray<Value>(n, "what host and GPU share");
    }

    void begin_batch(std::int64_t first_position, std::int64_t n_tokens);
    void wait() { stream_.synchronize(); }
    ConstMatrixView read_back(ConstMatrixView x);

    void copy_bytes(std::byte* to, const std::byte* from, std::int64_t n) {
        copy_on_device(stream_, to, from, n);
    }
    void zero(std::span<float> x) {
        fill_bytes(stream_, x.data(), 0, static_cast<std::int64_t>(x.size_bytes()));
    }

    void embed(MatrixView out, const TensorView& table, std::span<const std::int32_t> ids) {
        gpu::embed(stream_, out, table, ids);
    }
    void rms_norm(MatrixView out, ConstMatrixView x, std::span<const float> weight, float eps) {
        gpu::rms_norm(stream_, out, x, weight.data(), eps);
    }
    void matmul(std::initializer_list<Product> products, ConstMatrixView x) {
        for (const Product& product : products)
            gpu::matmul(stream_, product.out, product.w, x, activations_, scratch());
    }
    void matmul_heads(MatrixView out, std::int64_t out_stride, const TensorView& w, ConstMatrixView x,
                      std::int64_t x_stride) {
        gpu::matmul_heads(stream_, out, out_stride, w, x, x_stride, activations_, scratch());
    }
    void matmul_heads_transposed(MatrixView out, std::int64_t out_stride, const TensorView& w,
                                 ConstMatrixView x, std::int64_t x_stride) {
        gpu::matmul_heads_transposed(stream_, out, out_stride, w, x, x_stride, activations_, scratch());
    }
    void rope_angles(MatrixView out, std::span<const std::int32_t> positions,
                     std::span<const float> frequencies, float magnitude) {
        gpu::rope_angles(stream_, out, positions, frequencies, magnitude);
    }
    void rope(MatrixView out, std::int64_t out_stride, ConstMatrixView x, std::int64_t x_stride, int n_heads,
              ConstMatrixView angles, RopePairing pairing) {
        gpu::rope(stream_, out, out_stride, x, x_stride, n_heads, angles, pairing);
    }
    void layer_norm(MatrixView out, ConstMatrixView x, std::span<const float> weight,
                    std::span<const float> bias, float eps) {
        gpu::layer_norm(stream_, out, x, weight.data(), bias.data(), eps);
    }
    void store_rows(const KvRows& rows, std::int64_t /*first_position*/, ConstMatrixView from) {
        gpu::store_rows(stream_, rows, step(), from);
    }
    void mla_attention(MatrixView out, ConstMatrixView q, const KvRows& cache, std::int64_t first_position,
                       const MlaShape& shape, std::span<const std::int32_t> visible, std::int64_t n_visible);
    void gqa_attention(MatrixView out, ConstMatrixView q, const KvRows& keys, const KvRows& values,
                       std::int64_t first_position, const GqaShape& shape, std::span<const float> sinks);
    void index_positions(std::span<std::int32_t> visible, ConstMatrixView q, ConstMatrixView weights,
                         const KvRows& keys, std::int64_t first_position, std::int64_t top_k);
    void causal_conv(MatrixView x, std::span<const float> weight, std::span<const float> state,
                     std::span<float> next_state) {
        gpu::causal_conv(stream_, x, weight, state, next_state);
    }
    void delta_rule(MatrixView out, MatrixView qkv, ConstMatrixView gates, std::span<const float> a,
                    std::span<const float> dt_bias, float eps, std::span<const float> state,
                    std::span<float> next_state, const DeltaNetShape& shape) {
        gpu::delta_rule(stream_, out, qkv, gates, a, dt_bias, eps, state, next_state, shape);
    }
    void glu(MatrixView gate, ConstMatrixView up, Glu kind) { gpu::glu(stream_, gate, up, kind); }
    void add_bias(MatrixView x, std::span<const float> bias) { gpu::add_bias(stream_, x, bias.data()); }
    void scale(MatrixView x, float factor) { gpu::scale(stream_, x, factor); }
    void scale_rows(MatrixView x, std::span<const float> factors) {
        gpu::scale_rows(stream_, x, factors.data());
    }
    void gate_rows(MatrixView x, ConstMatrixView gate) { gpu::gate_rows(stream_, x, gate); }
    void gate(MatrixView x, ConstMatrixView logits) { gpu::gate(stream_, x, logits); }
    void add(MatrixView x, ConstMatrixView y) { gpu::add(stream_, x, y); }
    void copy(MatrixView to, ConstMatrixView from) { gpu::copy(stream_, to, from); }
    void route(std::span<std::int32_t> experts, std::span<float> weights, ConstMatrixView logits,
               std::span<const float> bias, const RouterRule& rule) {
        gpu::route(stream_, experts, weights, logits, bias, rule);
    }

  private:
    DeviceBudget& budget_;
    Activations activations_;
    Stream stream_;
    DeviceBuffer step_;
    DeviceBuffer scratch_;
    HostArray<StepState> next_step_;
    HostArray<float> read_back_;
};

}  // namespace greenroom::gpu
