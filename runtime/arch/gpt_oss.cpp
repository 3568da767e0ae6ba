// gpt-oss: gpt-oss-20b and 120b (arXiv:2508.10925). Attention sinks, every other layer with a sliding window,
// biases everywhere, a clamped activation, and a softmax over the chosen experts.

#include "runtime/arch/architectures.h"
#include "runtime/arch/common.h"

namespace greenroom::runtime {

ModelSpec read_gpt_oss(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "gpt-oss");
    ModelSpec spec = read_dimensions(meta);
    spec.ffn_norm_name = "post_attention_norm";
    GqaSpec gqa = read_gqa(meta);
    gqa.has_qkv_bias = true;
    gqa.has_output_bias = true;
    gqa.has_sinks = true;
    // The original configuration says `truncate: false`, for which GGUF has no key.
    RopeScaling scaling = read_rope_scaling(meta);
    scaling.rounds_range = false;
    spec.rope = read_rope(meta, gqa.shape.head_dim, RopePairing::halves, scaling);
    GqaSpec sliding = gqa;
    sliding.shape.window = meta.require_int("attention.sliding_window", 1, std::uint64_t{1} << 30);

    MoeFfnSpec moe = read_moe(meta);
    moe.router.scoring = RouterRule::Scoring::softmax_of_chosen;
    moe.has_router_bias = true;
    moe.has_expert_bias = true;
    moe.glu = Glu::clamped_swiglu;
    // The first layer slides, the second sees all, and so on.
    const int n_layers = read_n_layers(meta);
    for (int i = 0; i < n_layers; ++i) spec.layers.push_back({i % 2 == 0 ? sliding : gqa, moe});
    return spec;
}

}  // namespace greenroom::runtime
