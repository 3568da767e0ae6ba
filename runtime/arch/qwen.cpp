// qwen2moe: Qwen1.5-MoE and Qwen2-57B-A14B (arXiv:2407.10671); qwen3moe: Qwen3-30B-A3B, 235B-A22B and Coder
// (arXiv:2505.09388).
//
// Qwen2 has biases on query, key and value, does not normalise the chosen scores, and adds a shared expert
// behind a gate. Qwen3 normalises each head's query and key instead of the biases, normalises the scores and
// shares no expert.

#include "runtime/arch/architectures.h"
#include "runtime/arch/common.h"

namespace greenroom::runtime {

ModelSpec read_qwen2moe(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "qwen2moe");
    ModelSpec spec = read_dimensions(meta);
    GqaSpec gqa = read_gqa(meta);
    gqa.has_qkv_bias = true;
    spec.rope = read_rope(meta, gqa.shape.head_dim, RopePairing::halves, read_rope_scaling(meta));
    MoeFfnSpec moe = read_moe(meta);
    moe.shared_d_ff = meta.require_int("expert_shared_feed_forward_length", 1);
    moe.has_shared_gate = true;
    spec.layers.assign(static_cast<std::size_t>(read_n_layers(meta)), {gqa, moe});
    return spec;
}

ModelSpec read_qwen3moe(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "qwen3moe");
    ModelSpec spec = read_dimensions(meta);
    GqaSpec gqa = read_gqa(meta);
    gqa.qk_norm = GqaSpec::QkNorm::per_head;
    spec.rope = read_rope(meta, gqa.shape.head_dim, RopePairing::halves, read_rope_scaling(meta));
    MoeFfnSpec moe = read_moe(meta);
    moe.router.normalize = true;
    spec.layers.assign(static_cast<std::size_t>(read_n_layers(meta)), {gqa, moe});
    return spec;
}

}  // namespace greenroom::runtime
