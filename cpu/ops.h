#pragma once

// cpu::Ops: the operations of a forward pass on the CPU. Satisfies runtime/ops_concept.h, where each
// operation is described; the work is in the files named below. Every call returns when its result is there.

#include "cpu/attention.h"
#include "cpu/buffer.h"
#include "cpu/delta_net.h"
#include "cpu/elementwise.h"
#include "cpu/indexer.h"
#include "cpu/kv_rows.h"
#include "cpu/matmul.h"
#include "cpu/parallel.h"
#include "cpu/router.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <span>
#include <vector>

namespace greenroom::cpu {

class Ops {
  public:
    using Buffer = cpu::Buffer;
    template <class Value>
    using HostArray = std::vector<Value>;

    // The team must outlive the Ops. scratch_floats: per thread, see scratch_floats_needed().
    // activation_blocks: room for the quantized activations of the largest product (matmul.h, expert_ffn.h);
    // 0 keeps all activations in float32.
    Ops(ThreadTeam& team, std::int64_t scratch_floats, std::int64_t activation_blocks, ProductPlanes planes)
        : team_(team), scratch_(team.size(), scratch_floats), activations_(activation_blocks, planes) {}

    // What the operations need per thread for weight rows of up to max_row values, max_experts experts,
    // cached rows of which a head reads up to max_kv_row values, and an indexer (indexer_row values in a key,
    // 0: none) that chooses among context_tokens.
    static std::int64_t scratch_floats_needed(std::int64_t max_row, std::int64_t max_experts,
                                              std::int64_t max_kv_row, std::int64_t indexer_row,
                                              std::int64_t context_tokens) noexcept;

    ThreadTeam& team() noexcept { return team_; }
    const Scratch& scratch() const noexcept { return scratch_; }
    const ActivationBuffer& activations() const noexcept { return activations_; }

    Buffer allocate(std::int64_t n_floats) { return Buffer(n_floats); }
    template <class Value>
    HostArray<Value> allocate_host(std::int64_t n) {
        return HostArray<Value>(static_cast<std::size_t>(n));
    }

    void begin_batch(std::int64_t /*first_position*/, std::int64_t /*n_tokens*/) noexcept {}
    void wait() noexcept {}
    ConstMatrixView read_back(ConstMatrixView x) noexcept { return x; }

    void copy_bytes(std::byte* to, const std::byte* from, std::int64_t n) noexcept {
        std::memcpy(to, from, static_cast<std::size_t>(n));
    }
    void zero(std::span<float> x) noexcept { std::fill(x.begin(), x.end(), 0.0F); }

    void embed(MatrixView out, const TensorView& table, std::span<const std::int32_t> ids) {
        cpu::embed(team_, out, table, ids);
    }
    void rms_norm(MatrixView out, ConstMatrixView x, std::span<const float> weight, float eps) {
        cpu::rms_norm(team_, out, x, weight.data(), eps);
    }
    void matmul(std::initializer_list<Product> products, ConstMatrixView x) {
        cpu::matmul(team_, scratch_, activations_, products, x);
    }
    void matmul_heads(MatrixView out, std::int64_t out_stride, const TensorView& w, ConstMatrixView x,
                      std::int64_t x_stride) {
        cpu::matmul_heads(team_, scratch_, activations_, out, out_stride, w, x, x_stride);
    }
    void matmul_heads_transposed(MatrixView out, std::int64_t out_stride, const TensorView& w,
                                 ConstMatrixView x, std::int64_t x_stride) {
        cpu::matmul_heads_transposed(team_, scratch_, out, out_stride, w, x, x_stride);
    }
    void rope_angles(MatrixView out, std::span<const std::int32_t> positions,
                     std::span<const float> frequencies, float magnitude) {
        cpu::rope_angles(team_, out, positions, frequencies, magnitude);
    }
    void rope(MatrixView out, std::int64_t out_stride, ConstMatrixView x, std::int64_t x_stride, int n_heads,
              ConstMatrixView angles, RopePairing pairing) {
        cpu::rope(team_, out, out_stride, x, x_stride, n_heads, angles, pairing);
    }
    void layer_norm(MatrixView out, ConstMatrixView x, std::span<const float> weight,
                    std::span<const float> bias, float eps) {
        cpu::layer_norm(team_, out, x, weight.data(), bias.data(), eps);
    }
    void store_rows(const KvRows& rows, std::int64_t first_position, ConstMatrixView from) {
        cpu::store_rows(team_, rows, first_position, from);
    }
    void mla_attention(MatrixView out, ConstMatrixView q, const KvRows& cache, std::int64_t first_position,
                       const MlaShape& shape, std::span<const std::int32_t> visible, std::int64_t n_visible) {
        cpu::mla_attention(team_, scratch_, out, q, cache, first_position, shape, visible, n_visible);
    }
    void gqa_attention(MatrixView out, ConstMatrixView q, const KvRows& keys, const KvRows& values,
                       std::int64_t first_position, const GqaShape& shape, std::span<const float> sinks) {
        cpu::gqa_attention(team_, scratch_, out, q, keys, values, first_position, shape, sinks);
    }
    void index_positions(std::span<std::int32_t> visible, ConstMatrixView q, ConstMatrixView weights,
                         const KvRows& keys, std::int64_t first_position, std::int64_t top_k) {
        cpu::index_positions(team_, scratch_, visible, q, weights, keys, first_position, top_k);
    }
    void causal_conv(MatrixView x, std::span<const float> weight, std::span<const float> state,
                     std::span<float> next_state) {
        cpu::causal_conv(team_, x, weight, state, next_state);
    }
    void delta_rule(MatrixView out, MatrixView qkv, ConstMatrixView gates, std::span<const float> a,
                    std::span<const float> dt_bias, float eps, std::span<const float> state,
                    std::span<float> next_state, const DeltaNetShape& shape) {
        cpu::delta_rule(team_, out, qkv, gates, a, dt_bias, eps, state, next_state, shape);
    }
    void glu(MatrixView gate, ConstMatrixView up, Glu kind) { cpu::glu(team_, gate, up, kind); }
    void add_bias(MatrixView x, std::span<const float> bias) { cpu::add_bias(team_, x, bias.data()); }
    void scale(MatrixView x, float factor) { cpu::scale(team_, x, factor); }
    void scale_rows(MatrixView x, std::span<const float> factors) { cpu::scale_rows(team_, x, factors); }
    void gate_rows(MatrixView x, ConstMatrixView gate) { cpu::gate_rows(team_, x, gate); }
    void gate(MatrixView x, ConstMatrixView logits) { cpu::gate(team_, x, logits); }
    void add(MatrixView x, ConstMatrixView y) { cpu::add(team_, x, y); }
    void copy(MatrixView to, ConstMatrixView from) noexcept { cpu::copy(to, from); }
    void route(std::span<std::int32_t> experts, std::span<float> weights, ConstMatrixView logits,
               std::span<const float> bias, const RouterRule& rule) {
        cpu::route(team_, scratch_, experts, weights, logits, bias, rule);
    }

  private:
    ThreadTeam& team_;
    Scratch scratch_;
    ActivationBuffer activations_;
};

}  // namespace greenroom::cpu
