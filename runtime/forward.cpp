#include "runtime/forward.h"

#include <cmath>

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
}

void add_widths(ForwardWidths& w, const GqaSpec& gqa) noexcept {
    raise(w.query, std::int64_t{gqa.shape.n_heads} * gqa.shape.head_dim);
    raise(w.value, std::int64_t{gqa.shape.n_heads} * gqa.shape.value_dim);
}

}  // namespace

ForwardWidths forward_widths(const ModelSpec& spec) noexcept {
    const ModelExtent extent = extent_of(spec);
    ForwardWidths w;
    w.model = spec.d_model;
    w.angles = spec.rope.n_dims;
    w.dense_d_ff = extent.max_dense_d_ff;
    w.experts = extent.max_experts;
    for (const LayerSpec& layer : spec.layers) {
        raise(w.kv_row, kv_row_values(layer.attention));
        std::visit([&w](const auto& attention) { add_widths(w, attention); }, layer.attention);
    }
    return w;
}

float query_temperature(const GqaSpec& gqa, std::int64_t position) noexcept {
    const float periods = std::floor(static_cast<float>(position + 1) / gqa.temperature_floor);
    return std::log(periods + 1.0F) * gqa.temperature + 1.0F;
}

}  // namespace greenroom::runtime
