// llama: Mixtral 8x7B and 8x22B (arXiv:2401.04088), which GGUF files call by the name of the dense family
// they grew from.
//
// Every layer: grouped queries, rotary embedding of neighbours, and experts whose chosen softmax scores are
// normalised.

#include "runtime/arch/architectures.h"
#include "runtime/arch/common.h"

namespace greenroom::runtime {

ModelSpec read_llama(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "llama");
    if (meta.find_int("expert_count", 0) == 0)
        meta.unsupported("expert_count", "none", "a mixture of experts: dense models are not run here");
    ModelSpec spec = read_dimensions(meta);
    const GqaSpec gqa = read_gqa(meta);
    spec.rope = read_rope(meta, gqa.shape.head_dim, RopePairing::neighbours, read_rope_scaling(meta));
    MoeFfnSpec moe = read_moe(meta);
    moe.router.normalize = true;
    spec.layers.assign(static_cast<std::size_t>(read_n_layers(meta)), {gqa, moe});
    return spec;
}

}  // namespace greenroom::runtime
