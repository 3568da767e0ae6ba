// deepseek2: DeepSeek V2 (arXiv:2405.04434), V3 and R1 (arXiv:2412.19437), Kimi K2 (arXiv:2507.20534);
// deepseek32: DeepSeek V3.2 (arXiv:2512.02556).
//
// Multi-head latent attention, a few dense layers first, then layers of routed and shared experts. V2 scores
// experts by softmax and ranks groups by their best expert; V3 and K2 score by sigmoid, add a correction bias
// for the selection and rank groups by their best two. V3.2 is V3 with an indexer, which limits attention to
// the positions that it finds worth seeing.

#include "runtime/arch/architectures.h"
#include "runtime/arch/common.h"
#include "runtime/rope.h"

#include <cmath>
#include <string>

namespace greenroom::runtime {
namespace {

// Values of expert_gating_func; written in files.
constexpr int kGatingSoftmax = 1;
constexpr int kGatingSigmoid = 2;

// YaRN's effect on attention. The file holds 0.1 · mscale_all_dim. DeepSeek's code multiplies cosine and sine
// by m(mscale) / m(mscale_all_dim), which is 1 in all released models because the two are equal, and the
// scores by m(mscale_all_dim)².
void apply_yarn(const ArchMetadata& meta, const RopeScaling& scaling, RopeSpec& rope, MlaSpec& mla) {
    const float log_multiplier = meta.find_float("rope.scaling.yarn_log_multiplier", 0.0F, 0.0, 10.0);
    if (scaling.kind != RopeScaling::Kind::yarn || log_multiplier == 0.0F) return;
    const float m = yarn_magnitude(scaling.factor, log_multiplier * 10.0F);
    rope.magnitude = 1.0F;
    mla.scale *= m * m;
}

MlaSpec read_attention(const ArchMetadata& meta) {
    MlaSpec mla;
    mla.n_heads = meta.require_int("attention.head_count", 1, 4096);
    mla.q_rank = meta.find_int("attention.q_lora_rank", 0);
    mla.latent_dim = meta.require_int("attention.kv_lora_rank", 1, 1 << 16);
    mla.rope_dim = meta.require_int("rope.dimension_count", 2, 1 << 16);
    if (mla.rope_dim % 2 != 0)
        meta.unsupported("rope.dimension_count", std::to_string(mla.rope_dim), "an even number");
    // Files from before April 2025 hold the decompression in one piece, and its lengths under these names.
    const bool in_one_piece =
        !meta.has("attention.key_length_mla") && meta.gguf().find_tensor("blk.0.attn_kv_b.weight") != nullptr;
    const int key_dim = meta.require_int(in_one_piece ? "attention.key_length" : "attention.key_length_mla",
                                         static_cast<std::uint64_t>(mla.rope_dim) + 1, 1 << 16);
    mla.nope_dim = key_dim - mla.rope_dim;
    mla.value_dim =
        meta.require_int(in_one_piece ? "attention.value_length" : "attention.value_length_mla", 1, 1 << 16);
    mla.scale = 1.0F / std::sqrt(static_cast<float>(key_dim));
    if (meta.find_float("attention.temperature_scale", 0.0F, -1e6, 1e6) != 0.0F)
        meta.unsupported("attention.temperature_scale", "a value",
                         "none (attention temperature is not known here)");
    return mla;
}

MoeFfnSpec read_experts(const ArchMetadata& meta) {
    MoeFfnSpec moe;
    RouterRule& rule = moe.router;
    rule.n_experts = meta.require_int("expert_count", 1, 1 << 16);
    rule.top_k = meta.require_int("expert_used_count", 1, static_cast<std::uint64_t>(rule.n_experts));
    // Files of V2 and V2.5 were made before the key existed.
    const int gating = meta.find_int("expert_gating_func", kGatingSoftmax);
    if (gating != kGatingSoftmax && gating != kGatingSigmoid)
        meta.unsupported("expert_gating_func", std::to_string(gating), "1 (softmax) or 2 (sigmoid)");
    rule.scoring = gating == kGatingSigmoid ? RouterRule::Scoring::sigmoid : RouterRule::Scoring::softmax;
    rule.group_score =
        gating == kGatingSigmoid ? RouterRule::GroupScore::best_two : RouterRule::GroupScore::best;
    rule.n_groups = meta.find_int("expert_group_count", 1, 0, 256);
    if (rule.n_groups == 0) rule.n_groups = 1;
    rule.n_groups_used =
        meta.find_int("expert_group_used_count", rule.n_groups, 0, static_cast<std::uint64_t>(rule.n_groups));
    if (rule.n_groups_used == 0) rule.n_groups_used = rule.n_groups;
    if (rule.n_experts % rule.n_groups != 0 ||
        rule.n_experts / rule.n_groups * rule.n_groups_used < rule.top_k)
        meta.unsupported("expert_group_count", std::to_string(rule.n_groups),
                         "equal groups that hold at least expert_used_count candidates");
    rule.normalize = meta.find_bool("expert_weights_norm", false);
    rule.scale = meta.find_float("expert_weights_scale", 1.0F, -1e6, 1e6);
    if (rule.scale == 0.0F) rule.scale = 1.0F;  // how some converters wrote "none"

    moe.d_ff = meta.require_int("expert_feed_forward_length", 1);
    const int n_shared = meta.find_int("expert_shared_count", 0, 0, 64);
    moe.shared_d_ff = n_shared * moe.d_ff;
    return moe;
}

ModelSpec read_deepseek(const ArchMetadata& meta, const IndexerSpec& indexer) {
    ModelSpec spec = read_dimensions(meta);

    MlaSpec mla = read_attention(meta);
    mla.indexer = indexer;
    if (indexer.n_heads > 0 && (mla.q_rank == 0 || indexer.head_dim < mla.rope_dim))
        meta.unsupported("attention.indexer.key_length", std::to_string(indexer.head_dim),
                         "at least rope.dimension_count, and a compressed query (attention.q_lora_rank)");
    const RopeScaling scaling = read_rope_scaling(meta);
    spec.rope = read_rope(meta, mla.rope_dim, RopePairing::neighbours, scaling);
    apply_yarn(meta, scaling, spec.rope, mla);

    const int n_layers = read_n_layers(meta);
    const int n_dense =
        meta.find_int("leading_dense_block_count", 0, 0, static_cast<std::uint64_t>(n_layers));
    for (int i = 0; i < n_layers; ++i) {
        if (i < n_dense) {
            spec.layers.push_back({mla, DenseFfnSpec{meta.require_int("feed_forward_length", 1)}});
            continue;
        }
        MoeFfnSpec moe = read_experts(meta);
        // The correction bias came with V3; the tensor itself says whether the layer has one.
        moe.has_selection_bias =
            meta.gguf().find_tensor("blk." + std::to_string(i) + ".exp_probs_b.bias") != nullptr;
        spec.layers.push_back({mla, moe});
    }
    return spec;
}

}  // namespace

ModelSpec read_deepseek2(const quant::Gguf& gguf) {
    return read_deepseek(ArchMetadata(gguf, "deepseek2"), {});
}

ModelSpec read_deepseek32(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "deepseek32");
    IndexerSpec indexer;
    // Without it attention sees everything: what the indexer was trained to imitate.
    if (!all_blocks_have(meta, read_n_layers(meta), "indexer.attn_k.weight")) return read_deepseek(meta, {});
    indexer.n_heads = meta.require_int("attention.indexer.head_count", 1, 4096);
    indexer.head_dim = meta.require_int("attention.indexer.key_length", 1, 1 << 16);
    indexer.top_k = meta.require_int("attention.indexer.top_k", 1, 1 << 24);
    return read_deepseek(meta, indexer);
}

}  // namespace greenroom::runtime
