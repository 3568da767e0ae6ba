// deepseek2: DeepSeek V2 (arXiv:2405.04434), V3 and R1 (arXiv:2412.19437), Kimi K2 (arXiv:2507.20534).
//
// Multi-head latent attention, a few dense layers first, then layers of routed and shared experts. V2 scores
// experts by softmax and ranks groups by their best expert; V3 and K2 score by sigmoid, add a correction bias
// for the selection and rank groups by their best two.

#include "runtime/arch/architectures.h"
#include "runtime/arch/metadata.h"
#include "runtime/rope.h"

#include <cmath>
#include <string>

namespace greenroom::runtime {
namespace {

// Values of expert_gating_func; written in files.
constexpr int kGatingSoftmax = 1;
constexpr int kGatingSigmoid = 2;

struct Yarn {
    RopeScaling scaling;
    float magnitude = 1.0F;     // of cosine and sine
    float score_factor = 1.0F;  // of the attention scores
};

Yarn read_yarn(const ArchMetadata& meta) {
    Yarn yarn;
    const std::string_view type = meta.find_string("rope.scaling.type").value_or("none");
    if (type == "none") return yarn;
    yarn.scaling.factor = meta.find_float("rope.scaling.factor", 1.0F, 1.0, 1e6);
    if (type == "linear") {
        yarn.scaling.kind = RopeScaling::Kind::linear;
        return yarn;
    }
    if (type != "yarn") meta.unsupported("rope.scaling.type", type, "none, linear or yarn");
    yarn.scaling.kind = RopeScaling::Kind::yarn;
    yarn.scaling.original_context = static_cast<float>(
        meta.require_int("rope.scaling.original_context_length", 1, std::uint64_t{1} << 30));
    yarn.scaling.beta_fast = meta.find_float("rope.scaling.yarn_beta_fast", 32.0F, 1e-3, 1e6);
    yarn.scaling.beta_slow = meta.find_float("rope.scaling.yarn_beta_slow", 1.0F, 1e-3, 1e6);
    // The file holds 0.1 · mscale_all_dim. DeepSeek's code multiplies cosine and sine by m(mscale) /
    // m(mscale_all_dim), which is 1 in all released models because the two are equal, and the scores by
    // m(mscale_all_dim)².
    if (const float log_multiplier = meta.find_float("rope.scaling.yarn_log_multiplier", 0.0F, 0.0, 10.0);
        log_multiplier != 0.0F) {
        const float m = yarn_magnitude(yarn.scaling.factor, log_multiplier * 10.0F);
        yarn.score_factor = m * m;
    } else {
        yarn.magnitude = yarn_magnitude(yarn.scaling.factor, 1.0F);
    }
    return yarn;
}

MlaSpec read_attention(const ArchMetadata& meta) {
    MlaSpec mla;
    mla.n_heads = meta.require_int("attention.head_count", 1, 4096);
    mla.q_rank = meta.find_int("attention.q_lora_rank", 0);
    mla.latent_dim = meta.require_int("attention.kv_lora_rank", 1, 1 << 16);
    mla.rope_dim = meta.require_int("rope.dimension_count", 2, 1 << 16);
    if (mla.rope_dim % 2 != 0)
        meta.unsupported("rope.dimension_count", std::to_string(mla.rope_dim), "an even number");
    if (!meta.has("attention.key_length_mla"))
        meta.unsupported(
            "attention.key_length_mla", "nothing",
            "the length of a decompressed key: files made before April 2025 keep attn_kv_b in one piece. "
            "Convert the model again with a current converter, or download a newer file");
    const int key_dim =
        meta.require_int("attention.key_length_mla", static_cast<std::uint64_t>(mla.rope_dim) + 1, 1 << 16);
    mla.nope_dim = key_dim - mla.rope_dim;
    mla.value_dim = meta.require_int("attention.value_length_mla", 1, 1 << 16);
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

}  // namespace

ModelSpec read_deepseek2(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "deepseek2");
    ModelSpec spec;
    spec.d_model = meta.require_int("embedding_length", 1);
    spec.context_length = meta.require_int("context_length", 1, std::uint64_t{1} << 30);
    spec.norm_eps = meta.find_float("attention.layer_norm_rms_epsilon", 1e-6F, 0.0, 1.0);

    const Yarn yarn = read_yarn(meta);
    MlaSpec mla = read_attention(meta);
    mla.scale *= yarn.score_factor;
    spec.rope.n_dims = mla.rope_dim;
    spec.rope.pairing = RopePairing::neighbours;
    spec.rope.magnitude = yarn.magnitude;
    spec.rope.frequencies = rope_frequencies(
        mla.rope_dim, meta.find_float("rope.freq_base", 10000.0F, 1.0001, 1e12), yarn.scaling);

    // Layers of multi-token prediction are counted in block_count and stand at the end; they are not run.
    const int n_blocks = meta.require_int("block_count", 1, kMaxLayers);
    const int n_nextn = meta.find_int("nextn_predict_layers", 0, 0, static_cast<std::uint64_t>(n_blocks) - 1);
    const int n_layers = n_blocks - n_nextn;
    const int n_dense =
        meta.find_int("leading_dense_block_count", 0, 0, static_cast<std::uint64_t>(n_blocks));
    for (int i = 0; i < n_layers; ++i) {
        if (i < n_dense) {
            spec.layers.push_back({mla, DenseFfnSpec{meta.require_int("feed_forward_length", 1)}});
            continue;
        }
        MoeFfnSpec moe = read_experts(meta);
        // The correction bias came with V3; the tensor itself says whether the layer has one.
        moe.has_selection_bias =
            gguf.find_tensor("blk." + std::to_string(i) + ".exp_probs_b.bias") != nullptr;
        spec.layers.push_back({mla, moe});
    }
    return spec;
}

}  // namespace greenroom::runtime
