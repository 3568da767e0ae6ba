#include "runtime/model_spec.h"

#include <algorithm>

namespace greenroom::runtime {

std::int64_t kv_row_values(const AttentionSpec& attention) noexcept {
    if (const auto* mla = std::get_if<MlaSpec>(&attention)) return mla->latent_dim + mla->rope_dim;
    const GqaShape& shape = std::get<GqaSpec>(attention).shape;
    return shape.key_cols() + shape.value_cols();
}

ModelExtent extent_of(const ModelSpec& spec) noexcept {
    ModelExtent extent;
    const auto row = [&extent](std::int64_t n) { extent.max_row = std::max(extent.max_row, n); };
    row(spec.d_model);
    for (const LayerSpec& layer : spec.layers) {
        if (const auto* mla = std::get_if<MlaSpec>(&layer.attention)) {
            for (const int n : {mla->q_rank, mla->latent_dim, mla->nope_dim, mla->n_heads * mla->value_dim})
                row(n);
        } else {
            const GqaShape& shape = std::get<GqaSpec>(layer.attention).shape;
            row(std::int64_t{shape.n_heads} * shape.value_dim);
        }
        if (const auto* moe = std::get_if<MoeFfnSpec>(&layer.ffn)) {
            extent.max_experts = std::max<std::int64_t>(extent.max_experts, moe->router.n_experts);
            extent.max_top_k = std::max<std::int64_t>(extent.max_top_k, moe->router.top_k);
            extent.max_expert_d_ff = std::max<std::int64_t>(extent.max_expert_d_ff, moe->d_ff);
            extent.max_dense_d_ff = std::max<std::int64_t>(extent.max_dense_d_ff, moe->shared_d_ff);
            row(std::max(moe->d_ff, moe->shared_d_ff));
        } else {
            const int d_ff = std::get<DenseFfnSpec>(layer.ffn).d_ff;
            extent.max_dense_d_ff = std::max<std::int64_t>(extent.max_dense_d_ff, d_ff);
            row(d_ff);
        }
    }
    return extent;
}

}  // namespace greenroom::runtime
