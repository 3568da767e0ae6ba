// glm4moe: GLM-4.5, 4.5-Air and 4.6 (arXiv:2508.06471). Biases on query, key and value, part of a head
// rotated, the first layers dense, and DeepSeek-V3's router: sigmoid scores, a bias for the selection,
// normalised and scaled weights.

#include "runtime/arch/architectures.h"
#include "runtime/arch/common.h"

#include <string>

namespace greenroom::runtime {

ModelSpec read_glm4moe(const quant::Gguf& gguf) {
    constexpr int kGatingSigmoid = 2;
    const ArchMetadata meta(gguf, "glm4moe");
    ModelSpec spec = read_dimensions(meta);
    spec.ffn_norm_name = "post_attention_norm";
    const int n_layers = read_n_layers(meta);
    GqaSpec gqa = read_gqa(meta);
    gqa.has_qkv_bias = all_blocks_have(meta, n_layers, "attn_q.bias");
    // GLM-4.5-Air has no norms of query and key.
    if (all_blocks_have(meta, n_layers, "attn_q_norm.weight")) gqa.qk_norm = GqaSpec::QkNorm::per_head;
    spec.rope = read_rope(meta, gqa.shape.head_dim, RopePairing::halves, read_rope_scaling(meta));

    MoeFfnSpec moe = read_moe(meta);
    if (const int gating = meta.find_int("expert_gating_func", kGatingSigmoid); gating != kGatingSigmoid)
        meta.unsupported("expert_gating_func", std::to_string(gating), "2 (sigmoid)");
    if (const int n_groups = meta.find_int("expert_group_count", 1); n_groups > 1)
        meta.unsupported("expert_group_count", std::to_string(n_groups), "1");
    moe.router.scoring = RouterRule::Scoring::sigmoid;
    moe.router.normalize = meta.find_bool("expert_weights_norm", true);
    moe.router.scale = meta.find_float("expert_weights_scale", 1.0F, -1e6, 1e6);
    moe.shared_d_ff = meta.find_int("expert_shared_count", 0, 0, 64) * moe.d_ff;
    const int n_dense =
        meta.find_int("leading_dense_block_count", 0, 0, static_cast<std::uint64_t>(n_layers));
    for (int i = 0; i < n_layers; ++i) {
        if (i < n_dense) {
            spec.layers.push_back({gqa, DenseFfnSpec{meta.require_int("feed_forward_length", 1)}});
            continue;
        }
        moe.has_selection_bias =
            gguf.find_tensor("blk." + std::to_string(i) + ".exp_probs_b.bias") != nullptr;
        spec.layers.push_back({gqa, moe});
    }
    return spec;
}

}  // namespace greenroom::runtime
