#pragma once

// Forward: the passage of a batch of tokens through a model, or through those of its layers that one device
// runs, written once against the concepts Ops and Experts and driven by the ModelSpec. Resident operations go
// to the Ops, routed experts to the Experts.
//
// Operations may only be enqueued. Forward waits for them where an observer is to see something, and nowhere
// else: Experts that look at what the router chose wait themselves.
//
// One per session, on the thread that evaluates; spec, weights, ops and experts must outlive it. weights:
// where the Ops work. Activations are reserved by the constructor (working_floats() says how many); run() and
// head() allocate nothing.

#include "quant/base/error.h"
#include "runtime/experts_concept.h"
#include "runtime/layer_range.h"
#include "runtime/model_spec.h"
#include "runtime/observer.h"
#include "runtime/ops_concept.h"
#include "runtime/sequence_memory.h"
#include "runtime/weights.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>
#include <variant>

namespace greenroom::runtime {

// Widths (floats per token) of the activations that Forward keeps.
struct ForwardWidths {
    std::int64_t model = 0;          // residual stream; also normed input and block output
    std::int64_t query_rank = 0;     // MLA: compressed query
    std::int64_t query = 0;          // all heads
    std::int64_t gated_query = 0;    // the same with each head's output gate
    std::int64_t kv_row = 0;         // one layer's new keys and values; DeltaNet: queries too
    std::int64_t index_query = 0;    // indexer: queries of all heads
    std::int64_t index_key = 0;      // indexer: key
    std::int64_t index_weights = 0;  // indexer: a weight per head; DeltaNet: gate logits
    std::int64_t visible = 0;        // indexer: positions, each in the place of a float
    std::int64_t latent_query = 0;   // MLA: n_heads · (latent + rope)
    std::int64_t latent_result = 0;  // MLA: n_heads · latent
    std::int64_t value = 0;          // n_heads · value
    std::int64_t angles = 0;         // rotary embedding
    std::int64_t dense_d_ff = 0;     // gate and up of dense and shared networks
    std::int64_t experts = 0;        // router logits
    std::int64_t calls = 0;          // chosen experts, each in the place of a float, and their factors
    std::int64_t temperature = 0;

    std::int64_t total() const noexcept {
        return 3 * model + query_rank + query + gated_query + kv_row + index_query + index_key +
               index_weights + visible + latent_query + latent_result + value + angles + 2 * dense_d_ff +
               experts + 4 * calls + temperature;
    }
};

ForwardWidths forward_widths(const ModelSpec& spec) noexcept;

// What a Forward reserves.
inline std::int64_t working_floats(const ModelSpec& spec, std::int64_t batch_tokens) noexcept {
    return batch_tokens * forward_widths(spec).total();
}

template <Ops T, Experts E>
class Forward {
  public:
    Forward(const ModelSpec& spec, LayerRange layers, const Weights& weights, T& ops, E& experts,
            std::int64_t batch_tokens)
        : spec_(spec),
          layers_(layers),
          weights_(weights),
          ops_(ops),
          experts_(experts),
          batch_tokens_(batch_tokens) {
        const ForwardWidths w = forward_widths(spec);
        hidden_ = ops.allocate(batch_tokens * w.model);
        normed_ = ops.allocate(batch_tokens * w.model);
        block_out_ = ops.allocate(batch_tokens * w.model);
        query_rank_ = ops.allocate(batch_tokens * w.query_rank);
        query_ = ops.allocate(batch_tokens * w.query);
        gated_query_ = ops.allocate(batch_tokens * w.gated_query);
        kv_row_ = ops.allocate(batch_tokens * w.kv_row);
        index_query_ = ops.allocate(batch_tokens * w.index_query);
        index_key_ = ops.allocate(batch_tokens * w.index_key);
        index_weights_ = ops.allocate(batch_tokens * w.index_weights);
        visible_ = ops.allocate(batch_tokens * w.visible);
        latent_query_ = ops.allocate(batch_tokens * w.latent_query);
        latent_result_ = ops.allocate(batch_tokens * w.latent_result);
        value_ = ops.allocate(batch_tokens * w.value);
        angles_ = ops.allocate(batch_tokens * w.angles);
        gate_ = ops.allocate(batch_tokens * w.dense_d_ff);
        up_ = ops.allocate(batch_tokens * w.dense_d_ff);
        router_logits_ = ops.allocate(batch_tokens * w.experts);
        expert_ids_ = ops.allocate(batch_tokens * w.calls);
        expert_factors_ = ops.allocate(batch_tokens * w.calls);
        guessed_ids_ = ops.allocate(batch_tokens * w.calls);
        guessed_factors_ = ops.allocate(batch_tokens * w.calls);
        temperatures_ = ops.allocate(batch_tokens * w.temperature);
        if (layers.first > 0) before_ = allocate_host<float>(batch_tokens * spec.d_model);
        tokens_ = allocate_host<std::int32_t>(batch_tokens);
        positions_ = allocate_host<std::int32_t>(batch_tokens);
        new_temperatures_ = allocate_host<float>(batch_tokens * w.temperature);
        shown_ids_ = allocate_host<std::int32_t>(batch_tokens * w.calls);
        shown_factors_ = allocate_host<float>(batch_tokens * w.calls);
        frequencies_ = allocate_host<float>(static_cast<std::int64_t>(spec.rope.frequencies.size()));
        std::copy(spec.rope.frequencies.begin(), spec.rope.frequencies.end(), frequencies_.data());
    }

    // Takes the tokens, at most batch_tokens, through our layers, following those in memory; the caller
    // commits them there. before: what the layers before ours have left of them, for the host to read; not
    // looked at where ours begin with layer 0. Returns false when `cancelled` (may be nullptr) was found set
    // between two layers or while an expert was waited for. Error: an expert that cannot be read. Operations
    // that fail only later end the next call that waits.
    bool run(std::span<const std::int32_t> tokens, ConstMatrixView before, SequenceMemory<T>& memory,
             ForwardObserver* observer, const std::atomic<bool>* cancelled) {
        begin(tokens, before, memory);
        return pass(static_cast<std::int64_t>(tokens.size()), memory.n_tokens(), memory, observer, cancelled);
    }

    // run() in two parts, for whoever captures the second and replays it. What changes from batch to batch is
    // written by begin() to where pass() has its operations look for it.
    void begin(std::span<const std::int32_t> tokens, ConstMatrixView before, SequenceMemory<T>& memory) {
        const auto n_tokens = static_cast<std::int64_t>(tokens.size());
        GR_CHECK(n_tokens <= batch_tokens_);
        const std::int64_t first_position = memory.n_tokens();
        ops_.begin_batch(first_position, n_tokens);
        memory.begin(n_tokens);
        for (std::int64_t t = 0; t < n_tokens; ++t) {
            tokens_.data()[t] = tokens[static_cast<std::size_t>(t)];
            positions_.data()[t] = static_cast<std::int32_t>(first_position + t);
        }
        if (temperatures_.size() > 0)
            for (std::int64_t t = 0; t < n_tokens; ++t)
                new_temperatures_.data()[t] = spec_.temperature.at(first_position + t);
        if (layers_.first == 0) return;
        GR_CHECK(before.n_rows == n_tokens && before.stride == spec_.d_model);
        std::copy_n(before.data, n_tokens * spec_.d_model, before_.data());
    }

    // Through our layers. A capture may give a later first_position than that of any
    // batch that it is replayed for: launches are sized by it, and the Ops look up where the batch really is.
    bool pass(std::int64_t n_tokens, std::int64_t first_position, const SequenceMemory<T>& memory,
              ForwardObserver* observer, const std::atomic<bool>* cancelled) {
        n_tokens_ = n_tokens;
        const std::span<const float> frequencies{frequencies_.data(), spec_.rope.frequencies.size()};
        ops_.rope_angles(view(angles_, spec_.rope.n_dims), first(positions_, n_tokens_), frequencies,
                         spec_.rope.magnitude);
        // Once for all the layers that ask for them: an array of the host's may be far from the Ops.
        if (temperatures_.size() > 0) copy_values(temperatures_.data(), new_temperatures_.data(), n_tokens_);

        const MatrixView hidden = view(hidden_, spec_.d_model);
        if (layers_.first == 0) {
            ops_.embed(hidden, weights_.token_embedding, first(tokens_, n_tokens_));
            show(observer, -1, first_position, hidden);
            if (spec_.embedding_scale != 1.0F) ops_.scale(hidden, spec_.embedding_scale);
        } else {
            ops_.copy(hidden, MatrixView{before_.data(), n_tokens_, spec_.d_model, spec_.d_model});
        }
        for (int i = layers_.first; i < std::min(layers_.end, spec_.n_layers()); ++i) {
            if (cancelled != nullptr && cancelled->load(std::memory_order_relaxed)) return false;
            if (!run_layer(i, hidden, first_position, memory.layer(i), observer, cancelled)) return false;
            show(observer, i, first_position, hidden);
        }
        return true;
    }

    // What our layers have left of the last run()'s tokens, where the Ops work: [n_tokens, d_model].
    ConstMatrixView hidden() const noexcept { return view(hidden_, spec_.d_model); }

    // logits[r] of the tokens first_row + r of the last run(). logits: [n rows, n_vocab]. The output is ours.
    void head(MatrixView logits, std::int64_t first_row) {
        const ConstMatrixView hidden = view(hidden_, spec_.d_model).rows(first_row, logits.n_rows);
        const MatrixView normed = view(normed_, spec_.d_model).rows(first_row, logits.n_rows);
        ops_.rms_norm(normed, hidden, weights_.output_norm, spec_.norm_eps);
        ops_.matmul({{logits, weights_.output}}, normed);
        if (spec_.logit_scale != 1.0F) ops_.scale(logits, spec_.logit_scale);
    }

  private:
    using Buffer = typename T::Buffer;
    template <class Value>
    using HostArray = typename T::template HostArray<Value>;

    template <class Value>
    HostArray<Value> allocate_host(std::int64_t n) {
        return ops_.template allocate_host<Value>(n);
    }

    template <class Value>
    static std::span<Value> first(HostArray<Value>& array, std::int64_t n) noexcept {
        return {array.data(), static_cast<std::size_t>(n)};
    }
    static std::span<float> first(Buffer& buffer, std::int64_t n) noexcept {
        return {buffer.data(), static_cast<std::size_t>(n)};
    }
    static std::span<std::int32_t> first_ids(Buffer& buffer, std::int64_t n) noexcept {
        return {reinterpret_cast<std::int32_t*>(buffer.data()), static_cast<std::size_t>(n)};
    }

    // n values of four bytes, as they are; one side may be the host's.
    void copy_values(void* to, void* from, std::int64_t n) {
        ops_.copy(MatrixView{static_cast<float*>(to), 1, n, n},
                  MatrixView{static_cast<float*>(from), 1, n, n});
    }

    void show(ForwardObserver* observer, int layer, std::int64_t first_position, ConstMatrixView hidden) {
        if (observer != nullptr) observer->on_hidden(layer, first_position, ops_.read_back(hidden));
    }

    // What the router of layer i has chosen.
    void show(ForwardObserver& observer, int i, std::int64_t first_position, const RouterRule& rule,
              ConstMatrixView logits) {
        const std::int64_t n_calls = n_tokens_ * rule.top_k;
        copy_values(shown_ids_.data(), expert_ids_.data(), n_calls);
        copy_values(shown_factors_.data(), expert_factors_.data(), n_calls);
        const ConstMatrixView shown_logits = ops_.read_back(logits);  // waits
        observer.on_router({i, first_position, rule, first(shown_ids_, n_calls),
                            first(shown_factors_, n_calls), shown_logits});
    }

    // This batch's rows of a buffer, n_cols wide.
    MatrixView view(const Buffer& buffer, std::int64_t n_cols) const noexcept {
        return {buffer.data(), n_tokens_, n_cols, n_cols};
    }

    bool run_layer(int i, MatrixView hidden, std::int64_t first_position, const LayerMemory& memory,
                   ForwardObserver* observer, const std::atomic<bool>* cancelled) {
        const LayerSpec& layer = spec_.layers[static_cast<std::size_t>(i)];
        const LayerWeights& w = weights_.layers[static_cast<std::size_t>(i)];
        const MatrixView normed = view(normed_, spec_.d_model);

        ops_.rms_norm(normed, hidden, w.attention_norm, spec_.norm_eps);
        if (const auto* mla = std::get_if<MlaSpec>(&layer.attention))
            attend(*mla, std::get<MlaWeights>(w.attention), normed, memory, first_position);
        else if (const auto* delta_net = std::get_if<DeltaNetSpec>(&layer.attention))
            attend(*delta_net, std::get<DeltaNetWeights>(w.attention), normed, memory);
        else
            attend(std::get<GqaSpec>(layer.attention), std::get<GqaWeights>(w.attention), normed, memory,
                   first_position);
        add_block_output(hidden);

        ops_.rms_norm(normed, hidden, w.ffn_norm, spec_.norm_eps);
        if (const auto* moe = std::get_if<MoeFfnSpec>(&layer.ffn))
            return add_experts(i, hidden, normed, *moe, std::get<MoeFfnWeights>(w.ffn), first_position,
                               observer, cancelled);
        add_dense(hidden, normed, std::get<DenseFfnWeights>(w.ffn));
        return true;
    }

    // Block output = attention(normed).  Multi-head latent attention, absorbed: the query goes to latent
    // space through k_b and meets the cached latents there; what is found comes back through v_b.
    void attend(const MlaSpec& mla, const MlaWeights& w, ConstMatrixView normed, const LayerMemory& memory,
                std::int64_t first_position) {
        const std::int64_t head_dim = mla.nope_dim + mla.rope_dim;
        const std::int64_t row_dim = mla.latent_dim + mla.rope_dim;
        const ConstMatrixView angles = view(angles_, spec_.rope.n_dims);

        const MatrixView query = view(query_, mla.n_heads * head_dim);
        const MatrixView row = view(kv_row_, row_dim);
        if (mla.q_rank > 0) {
            const MatrixView compressed = view(query_rank_, mla.q_rank);
            ops_.matmul({{compressed, w.q_a}, {row, w.kv_a}}, normed);
            ops_.rms_norm(compressed, compressed, w.q_a_norm, spec_.norm_eps);
            ops_.matmul({{query, w.q_b}}, compressed);
        } else {
            ops_.matmul({{query, w.q}, {row, w.kv_a}}, normed);
        }

        const MatrixView latent = row.columns(0, mla.latent_dim);
        const MatrixView key_rope = row.columns(mla.latent_dim, mla.rope_dim);
        ops_.rms_norm(latent, latent, w.kv_a_norm, spec_.norm_eps);
        ops_.rope(key_rope, mla.rope_dim, key_rope, mla.rope_dim, 1, angles, spec_.rope.pairing);
        ops_.store_rows(memory.keys, first_position, row);
        const std::span<const std::int32_t> visible =
            w.indexer ? index(mla, *w.indexer, normed, memory, first_position)
                      : std::span<const std::int32_t>{};

        const MatrixView latent_query = view(latent_query_, mla.n_heads * row_dim);
        const std::int64_t query_rest = query.n_cols - mla.nope_dim;
        const std::int64_t latent_rest = latent_query.n_cols - mla.latent_dim;
        if (w.k_b_transposed.data != nullptr)
            ops_.matmul_heads_transposed(latent_query, row_dim, w.k_b_transposed, query, head_dim);
        else
            ops_.matmul_heads(latent_query, row_dim, w.k_b, query, head_dim);
        ops_.rope(latent_query.columns(mla.latent_dim, latent_rest), row_dim,
                  query.columns(mla.nope_dim, query_rest), head_dim, mla.n_heads, angles, spec_.rope.pairing);

        const MatrixView latent_result = view(latent_result_, mla.n_heads * mla.latent_dim);
        const MatrixView value = view(value_, mla.n_heads * mla.value_dim);
        const MatrixView out = view(block_out_, spec_.d_model);
        ops_.mla_attention(latent_result, latent_query, memory.keys, first_position, mla.shape(), visible,
                           visible.empty() ? 0 : mla.indexer.top_k);
        ops_.matmul_heads(value, mla.value_dim, w.v_b, latent_result, mla.latent_dim);
        ops_.matmul({{out, w.output}}, value);
    }

    // The positions that each token is to see, where there are more than top_k; empty: all. The indexer's
    // queries come from the compressed query in query_rank_; of both queries and keys the first rope_dim
    // values are rotated, in halves. Its key is stored in any case: later tokens ask for it.
    std::span<const std::int32_t> index(const MlaSpec& mla, const IndexerWeights& w, ConstMatrixView normed,
                                        const LayerMemory& memory, std::int64_t first_position) {
        const IndexerSpec& indexer = mla.indexer;
        const ConstMatrixView angles = view(angles_, spec_.rope.n_dims);
        const MatrixView key = view(index_key_, indexer.head_dim);
        constexpr float kLayerNormEps = 1e-6F;  // fixed by the architecture
        ops_.matmul({{key, w.k}}, normed);
        ops_.layer_norm(key, key, w.k_norm, w.k_norm_bias, kLayerNormEps);
        ops_.rope(key, indexer.head_dim, key, indexer.head_dim, 1, angles, RopePairing::halves);
        ops_.store_rows(memory.index_keys, first_position, key);
        if (first_position + n_tokens_ <= indexer.top_k) return {};

        const MatrixView query = view(index_query_, std::int64_t{indexer.n_heads} * indexer.head_dim);
        const MatrixView weights = view(index_weights_, indexer.n_heads);
        ops_.matmul({{query, w.q}}, view(query_rank_, mla.q_rank));
        ops_.rope(query, indexer.head_dim, query, indexer.head_dim, indexer.n_heads, angles,
                  RopePairing::halves);
        ops_.matmul({{weights, w.head_weights}}, normed);
        const std::span visible(reinterpret_cast<std::int32_t*>(visible_.data()),
                                static_cast<std::size_t>(n_tokens_ * indexer.top_k));
        ops_.index_positions(visible, query, weights, memory.index_keys, first_position, indexer.top_k);
        return visible;
    }

    // Block output = attention(normed), with grouped queries.
    void attend(const GqaSpec& gqa, const GqaWeights& w, ConstMatrixView normed, const LayerMemory& memory,
                std::int64_t first_position) {
        const GqaShape& shape = gqa.shape;
        const MatrixView query = view(query_, std::int64_t{shape.n_heads} * shape.head_dim);
        // The new keys and values, each contiguous, until they go to the cache.
        const MatrixView key{kv_row_.data(), n_tokens_, shape.key_cols(), shape.key_cols()};
        const MatrixView value{kv_row_.data() + n_tokens_ * shape.key_cols(), n_tokens_, shape.value_cols(),
                               shape.value_cols()};
        // With an output gate each head's query is followed by its gate.
        const std::int64_t n_query_heads = n_tokens_ * shape.n_heads;
        const MatrixView gated{gated_query_.data(), n_query_heads, 2 * shape.head_dim, 2 * shape.head_dim};
        const MatrixView projected = gqa.has_output_gate ? view(gated_query_, 2 * query.n_cols) : query;
        ops_.matmul({{projected, w.q}, {key, w.k}, {value, w.v}}, normed);
        if (gqa.has_output_gate)
            ops_.copy(MatrixView{query.data, n_query_heads, shape.head_dim, shape.head_dim},
                      gated.columns(0, shape.head_dim));
        if (gqa.has_qkv_bias) {
            ops_.add_bias(query, w.q_bias);
            ops_.add_bias(key, w.k_bias);
            ops_.add_bias(value, w.v_bias);
        }
        if (gqa.qk_norm == GqaSpec::QkNorm::whole_row) {
            ops_.rms_norm(query, query, w.q_norm, spec_.norm_eps);
            ops_.rms_norm(key, key, w.k_norm, spec_.norm_eps);
        } else if (gqa.qk_norm == GqaSpec::QkNorm::per_head) {
            norm_heads(query, shape.head_dim, w.q_norm);
            norm_heads(key, shape.head_dim, w.k_norm);
        }
        if (gqa.rotates) {
            const ConstMatrixView angles = view(angles_, spec_.rope.n_dims);
            ops_.rope(query, shape.head_dim, query, shape.head_dim, shape.n_heads, angles,
                      spec_.rope.pairing);
            ops_.rope(key, shape.head_dim, key, shape.head_dim, shape.n_kv_heads, angles, spec_.rope.pairing);
        }
        if (gqa.qk_norm == GqaSpec::QkNorm::after_rope) {
            norm_heads(query, shape.head_dim, {});
            norm_heads(key, shape.head_dim, {});
        }
        if (gqa.has_temperature) ops_.scale_rows(query, first(temperatures_, n_tokens_));
        ops_.store_rows(memory.keys, first_position, key);
        ops_.store_rows(memory.values, first_position, value);

        const MatrixView result = view(value_, std::int64_t{shape.n_heads} * shape.value_dim);
        const MatrixView out = view(block_out_, spec_.d_model);
        ops_.gqa_attention(result, query, memory.keys, memory.values, first_position, shape, w.sinks);
        if (gqa.has_output_gate)
            ops_.gate(MatrixView{result.data, n_query_heads, shape.value_dim, shape.value_dim},
                      gated.columns(shape.head_dim, shape.value_dim));
        ops_.matmul({{out, w.output}}, result);
        if (gqa.has_output_bias) ops_.add_bias(out, w.output_bias);
    }

    // Block output = gated DeltaNet(normed): a convolution over the last tokens' projections, the recurrence,
    // and each head's result normalised and gated by silu(z).
    void attend(const DeltaNetSpec& delta_net, const DeltaNetWeights& w, ConstMatrixView normed,
                const LayerMemory& memory) {
        const DeltaNetShape& shape = delta_net.shape;
        const MatrixView qkv = view(kv_row_, shape.channels());
        const MatrixView gates = view(index_weights_, 2 * shape.n_value_heads);
        const MatrixView z = view(query_, shape.value_cols());
        const MatrixView result = view(value_, shape.value_cols());
        const auto n_conv = static_cast<std::size_t>(shape.conv_state_values());

        if (delta_net.projects_by_key_head) {
            project_by_key_head(shape, w.qkvz, normed, qkv, z);
        } else {
            ops_.matmul({{qkv, w.qkv}, {z, w.z}}, normed);
        }
        ops_.causal_conv(qkv, w.conv, memory.state.first(n_conv), memory.next_state.first(n_conv));
        std::int64_t column = 0;
        for (const TensorView& gate : w.gates) {
            ops_.matmul({{gates.columns(column, gate.shape[1]), gate}}, normed);
            column += gate.shape[1];
        }
        constexpr float kLengthEps = 1e-6F;  // fixed by the architecture
        ops_.delta_rule(result, qkv, gates, w.a, w.dt_bias, kLengthEps, memory.state.subspan(n_conv),
                        memory.next_state.subspan(n_conv), shape);
        norm_heads(result, shape.value_dim, w.norm);
        ops_.glu(z, result, Glu::silu);
        ops_.matmul({{view(block_out_, spec_.d_model), w.output}}, z);
    }

    // One product, whose columns are those of the first key head's query, key, values and gates, then the
    // second's, and so on.
    void project_by_key_head(const DeltaNetShape& shape, const TensorView& w, ConstMatrixView normed,
                             MatrixView qkv, MatrixView z) {
        const std::int64_t n_key = shape.key_dim;
        const std::int64_t n_value = std::int64_t{shape.heads_per_key()} * shape.value_dim;
        const std::int64_t n_group = 2 * (n_key + n_value);
        const MatrixView mixed = view(gated_query_, shape.n_key_heads * n_group);
        ops_.matmul({{mixed, w}}, normed);
        for (int g = 0; g < shape.n_key_heads; ++g) {
            const MatrixView group = mixed.columns(g * n_group, n_group);
            ops_.copy(qkv.columns(g * n_key, n_key), group.columns(0, n_key));
            ops_.copy(qkv.columns(shape.key_cols() + g * n_key, n_key), group.columns(n_key, n_key));
            ops_.copy(qkv.columns(2 * shape.key_cols() + g * n_value, n_value),
                      group.columns(2 * n_key, n_value));
            ops_.copy(z.columns(g * n_value, n_value), group.columns(2 * n_key + n_value, n_value));
        }
    }

    // Normalises each head of each row by itself.  x: contiguous rows of heads.
    void norm_heads(MatrixView x, std::int64_t head_dim, std::span<const float> weight) {
        const MatrixView heads{x.data, x.n_rows * (x.n_cols / head_dim), head_dim, head_dim};
        ops_.rms_norm(heads, heads, weight, spec_.norm_eps);
    }

    // hidden += what the block has put out, scaled where the model does so.
    void add_block_output(MatrixView hidden) {
        const MatrixView out = view(block_out_, spec_.d_model);
        if (spec_.residual_scale != 1.0F) ops_.scale(out, spec_.residual_scale);
        ops_.add(hidden, out);
    }

    // Block output = down · (silu(gate · normed) ∘ (up · normed)).
    void run_dense(ConstMatrixView normed, const DenseFfnWeights& w) {
        const MatrixView gate = view(gate_, w.gate.shape[1]);
        const MatrixView up = view(up_, w.up.shape[1]);
        ops_.matmul({{gate, w.gate}, {up, w.up}}, normed);
        ops_.glu(gate, up, Glu::silu);
        ops_.matmul({{view(block_out_, spec_.d_model), w.down}}, gate);
    }

    void add_dense(MatrixView hidden, ConstMatrixView normed, const DenseFfnWeights& w) {
        run_dense(normed, w);
        add_block_output(hidden);
    }

    // hidden += shared experts + routed experts of normed. The routed ones are asked for first, so that those
    // that have to be read are on their way while the rest is computed.
    bool add_experts(int i, MatrixView hidden, ConstMatrixView normed, const MoeFfnSpec& moe,
                     const MoeFfnWeights& w, std::int64_t first_position, ForwardObserver* observer,
                     const std::atomic<bool>* cancelled) {
        const std::int64_t top_k = moe.router.top_k;
        const std::span<std::int32_t> ids = first_ids(expert_ids_, n_tokens_ * top_k);
        const std::span<float> factors = first(expert_factors_, n_tokens_ * top_k);
        const MatrixView logits = route(moe, w, normed, ids, factors);
        if (observer != nullptr) show(*observer, i, first_position, moe.router, logits);
        if (spec_.residual_scale != 1.0F)
            ops_.scale(MatrixView{factors.data(), n_tokens_, top_k, top_k}, spec_.residual_scale);
        experts_.begin(i, normed, ids, factors);
        if (w.shared) {
            run_dense(normed, *w.shared);
            if (w.shared_gate) {
                const MatrixView gate = view(router_logits_, 1);
                ops_.matmul({{gate, *w.shared_gate}}, normed);
                ops_.gate_rows(view(block_out_, spec_.d_model), gate);
            }
            add_block_output(hidden);
        }
        guess(i, hidden, first_position, observer);
        return experts_.finish(hidden, cancelled);
    }

    // The choice of a layer's router; returns its logits.
    MatrixView route(const MoeFfnSpec& moe, const MoeFfnWeights& w, ConstMatrixView normed,
                     std::span<std::int32_t> ids, std::span<float> factors) {
        const MatrixView logits = view(router_logits_, moe.router.n_experts);
        ops_.matmul({{logits, w.router}}, normed);
        if (moe.has_router_bias) ops_.add_bias(logits, w.router_bias);
        ops_.route(ids, factors, logits, w.selection_bias, moe.router);
        return logits;
    }

    // Applies the next MoE layers' norms and routers to the state after layer i's attention and shared
    // experts, those of a few layers beyond ours included. What a layer adds to the residual stream is small
    // beside what is there, so that most of their choices show already [Eliseev and Mazur 2023,
    // arXiv:2312.17238; the figures are in docs/performance.md].
    void guess(int i, ConstMatrixView hidden, std::int64_t first_position, ForwardObserver* observer) {
        const int n_wanted = experts_.n_guesses(n_tokens_);
        const int n_observed = observer == nullptr ? 0 : observer->n_guesses();
        const int n_guesses = std::max(n_wanted, n_observed);
        const MatrixView normed = view(block_out_, spec_.d_model);
        for (int next = i + 1, distance = 1; distance <= n_guesses && next < spec_.n_layers(); ++next) {
            const LayerSpec& layer = spec_.layers[static_cast<std::size_t>(next)];
            const auto* moe = std::get_if<MoeFfnSpec>(&layer.ffn);
            if (moe == nullptr) continue;
            const LayerWeights& w = weights_.layers[static_cast<std::size_t>(next)];
            const std::int64_t n_calls = n_tokens_ * moe->router.top_k;
            const std::span<std::int32_t> ids = first_ids(guessed_ids_, n_calls);
            ops_.rms_norm(normed, hidden, w.ffn_norm, spec_.norm_eps);
            route(*moe, std::get<MoeFfnWeights>(w.ffn), normed, ids, first(guessed_factors_, n_calls));
            if (distance <= n_wanted) experts_.expect({next, distance, first_position, moe->router, ids});
            if (distance <= n_observed) {
                copy_values(shown_ids_.data(), ids.data(), n_calls);
                ops_.wait();
                observer->on_guess({next, distance, first_position, moe->router, first(shown_ids_, n_calls)});
            }
            ++distance;
        }
    }

    const ModelSpec& spec_;
    LayerRange layers_;
    const Weights& weights_;
    T& ops_;
    E& experts_;
    std::int64_t batch_tokens_;
    std::int64_t n_tokens_ = 0;  // of the batch in hand
    Buffer hidden_, normed_, block_out_;
    Buffer query_rank_, query_, gated_query_, kv_row_, latent_query_, latent_result_, value_, angles_;
    Buffer index_query_, index_key_, index_weights_, visible_;
    Buffer gate_, up_, router_logits_;
    Buffer expert_ids_, expert_factors_, guessed_ids_;
    Buffer guessed_factors_;  // not used
    Buffer temperatures_;     // none: no layer has one
    HostArray<float> before_;
    HostArray<std::int32_t> tokens_, positions_;
    HostArray<float> new_temperatures_, frequencies_;
    HostArray<std::int32_t> shown_ids_;  // to observers
    HostArray<float> shown_factors_;
};

}  // namespace greenroom::runtime
