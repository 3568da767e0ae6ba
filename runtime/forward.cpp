#include "runtime/forward.h"

#include <algorithm>
#include <variant>

namespace greenroom::runtime {
namespace {

void raise(std::int64_t& width, std::int64_t n) noexcept { width = std::max(width, n); }

void add_widths(ForwardWidths& w, const MlaSpec& mla) noexcept {
    const std::int64_t n_heads = mla.n_heads;
    raise(w.query_rank, mla.q_rank);
    raise(w.query, n_heads * (mla.nope_dim + mla.rope_dim));
    raise(w.latent_query, n_heads * (mla.latent_dim + mla.rope_dim));
    raise(w.latent_result, n_heads * mla.latent_dim);
    raise(w.value, n_heads * mla.value_dim);
    raise(w.kv_row, mla.latent_dim + mla.rope_dim);
    raise(w.index_query, std::int64_t{mla.indexer.n_heads} * mla.indexer.head_dim);
    raise(w.index_key, mla.indexer.head_dim);
    raise(w.index_weights, mla.indexer.n_heads);
    raise(w.visible, mla.indexer.top_k);
}

void add_widths(ForwardWidths& w, const GqaSpec& gqa) noexcept {
    const std::int64_t query_cols = std::int64_t{gqa.shape.n_heads} * gqa.shape.head_dim;
    raise(w.query, query_cols);
    if (gqa.has_output_gate) raise(w.gated_query, 2 * query_cols);
    raise(w.value, std::int64_t{gqa.shape.n_heads} * gqa.shape.value_dim);
    raise(w.kv_row, gqa.shape.key_cols() + gqa.shape.value_cols());
    if (gqa.has_temperature) w.temperature = 1;
}

void add_widths(ForwardWidths& w, const DeltaNetSpec& delta_net) noexcept {
    raise(w.query, delta_net.shape.value_cols());
    raise(w.value, delta_net.shape.value_cols());
    raise(w.kv_row, delta_net.shape.channels());
    if (delta_net.projects_by_key_head)
        raise(w.gated_query, delta_net.shape.channels() + delta_net.shape.value_cols());
    raise(w.index_weights, 2 * std::int64_t{delta_net.shape.n_value_heads});
}

}  // namespace

ForwardWidths forward_widths(const ModelSpec& spec) noexcept {
    const ModelExtent extent = extent_of(spec);
    ForwardWidths w;
    w.model = spec.d_model;
    w.angles = spec.rope.n_dims;
    w.dense_d_ff = extent.max_dense_d_ff;
    w.experts = extent.max_experts;
    w.calls = extent.max_top_k;
    for (const LayerSpec& layer : spec.layers)
        std::visit([&w](const auto& attention) { add_widths(w, attention); }, layer.attention);
    return w;
}

}  // namespace greenroom::runtime
