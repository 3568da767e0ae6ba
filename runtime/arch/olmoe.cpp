// olmoe: OLMoE-1B-7B (arXiv:2409.02060). Query and key are normalised over all heads together; the chosen
// scores are not.

#include "runtime/arch/architectures.h"
#include "runtime/arch/common.h"

namespace greenroom::runtime {

ModelSpec read_olmoe(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "olmoe");
    ModelSpec spec = read_dimensions(meta);
    GqaSpec gqa = read_gqa(meta);
    gqa.qk_norm = GqaSpec::QkNorm::whole_row;
    spec.rope = read_rope(meta, gqa.shape.head_dim, RopePairing::halves, read_rope_scaling(meta));
    spec.layers.assign(static_cast<std::size_t>(read_n_layers(meta)), {gqa, read_moe(meta)});
    return spec;
}

}  // namespace greenroom::runtime
