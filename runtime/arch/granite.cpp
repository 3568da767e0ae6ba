// granitemoe: IBM Granite 3.0 and 3.1 MoE. Multipliers on embedding, residual, attention and logits (after
// muP, arXiv:2203.03466); the softmax is over the chosen experts.

#include "runtime/arch/architectures.h"
#include "runtime/arch/common.h"

namespace greenroom::runtime {

ModelSpec read_granitemoe(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "granitemoe");
    ModelSpec spec = read_dimensions(meta);
    GqaSpec gqa = read_gqa(meta);
    if (const float scale = meta.find_float("attention.scale", 0.0F, 0.0, 1e6); scale != 0.0F)
        gqa.shape.scale = scale;
    spec.rope = read_rope(meta, gqa.shape.head_dim, RopePairing::neighbours, read_rope_scaling(meta));
    spec.embedding_scale = meta.find_float("embedding_scale", 1.0F, 1e-6, 1e6);
    spec.residual_scale = meta.find_float("residual_scale", 1.0F, 1e-6, 1e6);
    spec.logit_scale = 1.0F / meta.find_float("logit_scale", 1.0F, 1e-6, 1e6);
    MoeFfnSpec moe = read_moe(meta);
    moe.router.scoring = RouterRule::Scoring::softmax_of_chosen;
    spec.layers.assign(static_cast<std::size_t>(read_n_layers(meta)), {gqa, moe});
    return spec;
}

}  // namespace greenroom::runtime
