#include "runtime/model_spec.h"

#include <algorithm>
#include <cmath>

namespace greenroom::runtime {

namespace {

void widen(std::int64_t& width, std::int64_t n) noexcept { width = std::max(width, n); }

void extend(ModelExtent& extent, const MlaSpec& mla) noexcept {
    for (const int n : {mla.q_rank, mla.latent_dim, mla.nope_dim, mla.n_heads * mla.value_dim})
        widen(extent.max_row, n);
    widen(extent.max_kv_row, mla.latent_dim + mla.rope_dim);
    widen(extent.max_indexer_row, mla.indexer.head_dim);
}

void extend(ModelExtent& extent, const GqaSpec& gqa) noexcept {
    widen(extent.max_row, std::int64_t{gqa.shape.n_heads} * gqa.shape.value_dim);
    widen(extent.max_kv_row, std::max(gqa.shape.head_dim, gqa.shape.value_dim));
}

void extend(ModelExtent& extent, const DeltaNetSpec& delta_net) noexcept {
    widen(extent.max_row, delta_net.shape.value_cols());
}

void extend(ModelExtent& extent, const MoeFfnSpec& moe) noexcept {
    widen(extent.max_experts, moe.router.n_experts);
    widen(extent.max_top_k, moe.router.top_k);
    widen(extent.max_expert_d_ff, moe.d_ff);
    widen(extent.max_dense_d_ff, moe.shared_d_ff);
    widen(extent.max_row, std::max(moe.d_ff, moe.shared_d_ff));
}

void extend(ModelExtent& extent, const DenseFfnSpec& dense) noexcept {
    widen(extent.max_dense_d_ff, dense.d_ff);
    widen(extent.max_row, dense.d_ff);
}

}  // namespace

float QueryTemperature::at(std::int64_t position) const noexcept {
    const float periods = std::floor(static_cast<float>(position + 1) / period);
    return std::log(periods + 1.0F) * scale + 1.0F;
}

ModelExtent extent_of(const ModelSpec& spec) noexcept {
    ModelExtent extent;
    widen(extent.max_row, spec.d_model);
    for (const LayerSpec& layer : spec.layers) {
        std::visit([&extent](const auto& attention) { extend(extent, attention); }, layer.attention);
        std::visit([&extent](const auto& ffn) { extend(extent, ffn); }, layer.ffn);
    }
    return extent;
}

}  // namespace greenroom::runtime
