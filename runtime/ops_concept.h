#pragma once

// The operations that a forward pass is made of, stated once. cpu::Ops and (where there is a GPU) gpu::Ops
// satisfy it; a layer is written against it in forward.h and instantiated for each. The formulas stand at the
// CPU's declarations (cpu/matmul.h, elementwise.h, attention.h, router.h).
//
// Memory is of two kinds. Matrices, tensors, cached rows, states and weights lie where the Ops work, and the
// host does not touch them. Arrays that host and Ops share (tokens, positions) are HostArrays; `ids`,
// `chosen`, factors and frequencies below may be either. copy() takes them from one to the other.
//
// Calls may only enqueue; they are carried out in their order. What they wrote to HostArrays is there after
// wait(), and what the host wrote before a call is what the call sees. Outputs don't overlap inputs unless an
// operation works in place.

#include "quant/base/kv_rows.h"
#include "quant/base/matrix_view.h"
#include "quant/base/op_params.h"
#include "quant/base/tensor_view.h"

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>

namespace greenroom::runtime {

template <class T>
concept Ops = requires(T ops, MatrixView m, ConstMatrixView c, const TensorView& w,
                       std::span<const std::int32_t> ids, std::span<const float> f,
                       std::span<std::int32_t> chosen, std::span<float> weights, std::int64_t n, int heads,
                       float number, RopePairing pairing, Glu kind, const MlaShape& mla, const GqaShape& gqa,
                       const RouterRule& rule, const KvRows& rows, const DeltaNetShape& delta_net,
                       std::byte* to, const std::byte* from) {
    typename T::Buffer;                                       // owns float32 memory: data(), size()
    { ops.allocate(n) } -> std::same_as<typename T::Buffer>;  // n floats, zero at first
    typename T::template HostArray<float>;  // owns memory that the host sees too: data(), size()
    {
        ops.template allocate_host<std::int32_t>(n)
        } -> std::same_as<typename T::template HostArray<std::int32_t>>;
    ops.begin_batch(n, n);  // first position, tokens; HostArrays are the host's to write again
    ops.wait();             // until all that was enqueued is done
    { ops.read_back(c) } -> std::same_as<ConstMatrixView>;  // waits; for the host, until the next call of it
    ops.copy_bytes(to, from, n);                            // n bytes; states and rows
    ops.zero(weights);
    ops.embed(m, w, ids);                        // out, table, ids
    ops.rms_norm(m, c, f, number);               // out, x, weight or nothing, eps; out may be x
    ops.matmul({{m, w}, {m, w}}, c);             // products: out, weight; their x
    ops.matmul_heads(m, n, w, c, n);             // out, its head stride, weights, x, its head stride
    ops.matmul_heads_transposed(m, n, w, c, n);  // the same, each weight transposed
    ops.rope_angles(m, ids, f, number);          // out, positions, frequencies, magnitude
    ops.rope(m, n, c, n, heads, c, pairing);     // out, its head stride, x, its head stride, n_heads, angles
    ops.layer_norm(m, c, f, f, number);          // out, x, weight, bias, eps; out may be x
    ops.store_rows(rows, n, c);                  // cache rows, first position, from
    ops.mla_attention(m, c, rows, n, mla, ids, n);   // out, q, cache rows, first position, shape, visible
    ops.gqa_attention(m, c, rows, rows, n, gqa, f);  // out, q, keys, values, first position, shape, sinks
    ops.index_positions(chosen, c, c, rows, n, n);   // visible, q, head weights, keys, first position, top k
    ops.causal_conv(m, f, f, weights);               // x in place, weight, state, next state
    ops.delta_rule(m, m, c, f, f, number, f, weights, delta_net);  // out, qkv, gates, a, dt bias, eps, states
    ops.glu(m, c, kind);                                           // gate in place, up
    ops.add_bias(m, f);                                            // x in place, bias
    ops.scale(m, number);                                          // x in place, factor
    ops.scale_rows(m, f);                                          // x in place, a factor per row
    ops.gate_rows(m, c);                                           // x in place, one column of logits
    ops.gate(m, c);                                                // x in place, logits
    ops.add(m, c);                                                 // x in place, y
    ops.copy(m, c);                                                // to, from
    ops.route(chosen, weights, c, f, rule);                        // experts, weights, logits, selection bias
};

}  // namespace greenroom::runtime
