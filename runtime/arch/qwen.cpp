// qwen2moe: Qwen1.5-MoE and Qwen2-57B-A14B (arXiv:2407.10671); qwen3moe: Qwen3-30B-A3B, 235B-A22B and Coder
// (arXiv:2505.09388); qwen3next: Qwen3-Next-80B-A3B; qwen35moe: Qwen3.5-35B-A3B, 122B-A10B, 397B-A17B, text
// part.
//
// Qwen2 has biases on query, key and value, does not normalise the chosen scores, and adds a shared expert
// behind a gate. Qwen3 normalises each head's query and key instead of the biases, normalises the scores and
// shares no expert. Qwen3-Next and Qwen3.5 replace the attention of most layers by a gated DeltaNet, gate the
// result of the others, and have Qwen2's shared expert again. The two differ in how the converter lays out
// the heads of the DeltaNet.

#include "runtime/arch/architectures.h"
#include "runtime/arch/common.h"

#include <algorithm>
#include <string>

namespace greenroom::runtime {
namespace {

bool has_mixed_projection(const ArchMetadata& meta) {
    const auto& tensors = meta.gguf().tensors();
    return std::any_of(tensors.begin(), tensors.end(), [](const quant::GgufTensor& tensor) {
        return tensor.name.ends_with(".ssm_in.weight");
    });
}

// Older files of Qwen2 and 3 state feed_forward_length only, that of the top_k experts together.
MoeFfnSpec read_qwen_moe(const ArchMetadata& meta) {
    MoeFfnSpec moe = read_moe(meta);
    if (!meta.has("expert_feed_forward_length")) moe.d_ff = std::max(1, moe.d_ff / moe.router.top_k);
    return moe;
}

DeltaNetSpec read_delta_net(const ArchMetadata& meta, DeltaNetShape::KeySharing sharing,
                            DeltaNetShape::GateOrder gate_order) {
    DeltaNetShape shape;
    shape.n_value_heads = meta.require_int("ssm.time_step_rank", 1, 4096);
    shape.n_key_heads =
        meta.require_int("ssm.group_count", 1, static_cast<std::uint64_t>(shape.n_value_heads));
    if (shape.n_value_heads % shape.n_key_heads != 0)
        meta.unsupported("ssm.group_count", std::to_string(shape.n_key_heads),
                         "a divisor of ssm.time_step_rank");
    shape.key_dim = meta.require_int("ssm.state_size", 1, 1 << 12);
    shape.value_dim = shape.key_dim;
    if (const int inner = meta.require_int("ssm.inner_size", 1); inner != shape.value_cols())
        meta.unsupported("ssm.inner_size", std::to_string(inner), "ssm.time_step_rank times ssm.state_size");
    shape.conv_width = meta.require_int("ssm.conv_kernel", 2, 16);
    shape.sharing = sharing;
    shape.gate_order = gate_order;
    DeltaNetSpec spec{shape};
    spec.projects_by_key_head = has_mixed_projection(meta);
    return spec;
}

// The shared expert of Qwen2, 3-Next and 3.5, behind a gate of its own.
MoeFfnSpec read_moe_with_shared(const ArchMetadata& meta) {
    MoeFfnSpec moe = read_qwen_moe(meta);
    moe.shared_d_ff = meta.has("expert_shared_feed_forward_length")
                          ? meta.require_int("expert_shared_feed_forward_length", 1)
                          : meta.require_int("feed_forward_length", 1);
    moe.has_shared_gate = true;
    return moe;
}

// Every interval-th layer attends; the others have a DeltaNet. Newer files list them instead.
std::vector<bool> recurrent_layers(const ArchMetadata& meta, int n_layers) {
    std::vector<bool> listed = meta.find_bools("attention.recurrent_layers", n_layers);
    if (!listed.empty()) return listed;
    const int interval = meta.find_int("full_attention_interval", 4, 1, 1024);
    for (int i = 0; i < n_layers; ++i) listed.push_back((i + 1) % interval != 0);
    return listed;
}

ModelSpec read_hybrid(const ArchMetadata& meta, const DeltaNetSpec& delta_net) {
    ModelSpec spec = read_dimensions(meta);
    spec.ffn_norm_name = "post_attention_norm";
    GqaSpec gqa = read_gqa(meta);
    gqa.qk_norm = GqaSpec::QkNorm::per_head;
    gqa.has_output_gate = true;
    if (gqa.shape.value_dim != gqa.shape.head_dim)
        meta.unsupported("attention.value_length", std::to_string(gqa.shape.value_dim),
                         "attention.key_length: the output gate is as wide as the query");
    // Of a text all three components of a position (rope.dimension_sections) are the same number.
    spec.rope = read_rope(meta, gqa.shape.head_dim, RopePairing::halves, read_rope_scaling(meta));
    MoeFfnSpec moe = read_moe_with_shared(meta);
    moe.router.normalize = true;
    for (const bool recurrent : recurrent_layers(meta, read_n_layers(meta)))
        spec.layers.push_back({recurrent ? AttentionSpec(delta_net) : AttentionSpec(gqa), moe});
    return spec;
}

}  // namespace

ModelSpec read_qwen2moe(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "qwen2moe");
    ModelSpec spec = read_dimensions(meta);
    GqaSpec gqa = read_gqa(meta);
    gqa.has_qkv_bias = true;
    spec.rope = read_rope(meta, gqa.shape.head_dim, RopePairing::halves, read_rope_scaling(meta));
    spec.layers.assign(static_cast<std::size_t>(read_n_layers(meta)), {gqa, read_moe_with_shared(meta)});
    return spec;
}

ModelSpec read_qwen3next(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "qwen3next");
    return read_hybrid(meta, read_delta_net(meta, DeltaNetShape::KeySharing::consecutive,
                                            DeltaNetShape::GateOrder::by_key_head));
}

ModelSpec read_qwen35moe(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "qwen35moe");
    return read_hybrid(meta, read_delta_net(meta, DeltaNetShape::KeySharing::round_robin,
                                            DeltaNetShape::GateOrder::betas_then_alphas));
}

ModelSpec read_qwen3moe(const quant::Gguf& gguf) {
    const ArchMetadata meta(gguf, "qwen3moe");
    ModelSpec spec = read_dimensions(meta);
    GqaSpec gqa = read_gqa(meta);
    gqa.qk_norm = GqaSpec::QkNorm::per_head;
    spec.rope = read_rope(meta, gqa.shape.head_dim, RopePairing::halves, read_rope_scaling(meta));
    MoeFfnSpec moe = read_qwen_moe(meta);
    moe.router.normalize = true;
    spec.layers.assign(static_cast<std::size_t>(read_n_layers(meta)), {gqa, moe});
    return spec;
}

}  // namespace greenroom::runtime
