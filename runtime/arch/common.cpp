#include "runtime/arch/common.h"

#include "quant/base/error.h"

#include <cmath>
#include <string>

namespace greenroom::runtime {
ModelSpec read_dimensions(const ArchMetadata& meta) {
    ModelSpec spec;
    spec.d_model = meta.require_int("embedding_length", 1);
    spec.context_length = meta.require_int("context_length", 1, std::uint64_t{1} << 30);
    spec.norm_eps = meta.find_float("attention.layer_norm_rms_epsilon", 1e-6F, 0.0, 1.0);
    return spec;
}

GqaSpec read_gqa(const ArchMetadata& meta) {
    GqaSpec gqa;
    GqaShape& shape = gqa.shape;
    shape.n_heads = meta.require_int("attention.head_count", 1, 4096);
    shape.n_kv_heads =
        meta.find_int("attention.head_count_kv", shape.n_heads, 1, static_cast<std::uint64_t>(shape.n_heads));
    if (shape.n_heads % shape.n_kv_heads != 0)
        meta.unsupported("attention.head_count_kv", std::to_string(shape.n_kv_heads),
                         "a divisor of attention.head_count");
    const int even_share = meta.require_int("embedding_length", 1) / shape.n_heads;
    shape.head_dim = meta.find_int("attention.key_length", even_share, 1, 1 << 16);
    shape.value_dim = meta.find_int("attention.value_length", even_share, 1, 1 << 16);
    if (shape.head_dim < 1 || shape.value_dim < 1)
        meta.unsupported("attention.head_count", std::to_string(shape.n_heads), "at most embedding_length");
    shape.scale = 1.0F / std::sqrt(static_cast<float>(shape.head_dim));
    return gqa;
}

RopeScaling read_rope_scaling(const ArchMetadata& meta) {
    RopeScaling scaling;
    const std::string_view type = meta.find_string("rope.scaling.type").value_or("none");
    if (type == "none") return scaling;
    scaling.factor = meta.find_float("rope.scaling.factor", 1.0F, 1.0, 1e6);
    if (type == "linear") {
        scaling.kind = RopeScaling::Kind::linear;
        return scaling;
    }
    if (type != "yarn") meta.unsupported("rope.scaling.type", type, "none, linear or yarn");
    scaling.kind = RopeScaling::Kind::yarn;
    scaling.original_context = static_cast<float>(
        meta.require_int("rope.scaling.original_context_length", 1, std::uint64_t{1} << 30));
    scaling.beta_fast = meta.find_float("rope.scaling.yarn_beta_fast", 32.0F, 1e-3, 1e6);
    scaling.beta_slow = meta.find_float("rope.scaling.yarn_beta_slow", 1.0F, 1e-3, 1e6);
    return scaling;
}

RopeSpec read_rope(const ArchMetadata& meta, int head_dim, RopePairing pairing, const RopeScaling& scaling) {
    RopeSpec rope;
    rope.n_dims = meta.find_int("rope.dimension_count", head_dim, 2, static_cast<std::uint64_t>(head_dim));
    if (rope.n_dims % 2 != 0)
        meta.unsupported("rope.dimension_count", std::to_string(rope.n_dims), "an even number");
    rope.pairing = pairing;
    rope.frequencies =
        rope_frequencies(rope.n_dims, meta.find_float("rope.freq_base", 10000.0F, 1.0001, 1e12), scaling);
    if (scaling.kind == RopeScaling::Kind::yarn) rope.magnitude = yarn_magnitude(scaling.factor, 1.0F);
    return rope;
}

MoeFfnSpec read_moe(const ArchMetadata& meta) {
    MoeFfnSpec moe;
    moe.router.n_experts = meta.require_int("expert_count", 1, 1 << 16);
    moe.router.top_k =
        meta.require_int("expert_used_count", 1, static_cast<std::uint64_t>(moe.router.n_experts));
    moe.d_ff = meta.has("expert_feed_forward_length") ? meta.require_int("expert_feed_forward_length", 1)
                                                      : meta.require_int("feed_forward_length", 1);
    return moe;
}

bool all_blocks_have(const ArchMetadata& meta, int n_layers, const char* tensor) {
    int n_found = 0;
    for (int i = 0; i < n_layers; ++i)
        n_found += meta.gguf().find_tensor(fmt::format("blk.{}.{}", i, tensor)) != nullptr;
    if (n_found != 0 && n_found != n_layers)
        fail(ErrorKind::unsupported, "{}: tensor blk.*.{}: found in {} of {} blocks, expected in all or none",
             meta.gguf().path(), tensor, n_found, n_layers);
    return n_found != 0;
}

int read_n_layers(const ArchMetadata& meta) {
    const int n_blocks = meta.require_int("block_count", 1, kMaxLayers);
    return n_blocks - meta.find_int("nextn_predict_layers", 0, 0, static_cast<std::uint64_t>(n_blocks) - 1);
}

}  // namespace greenroom::runtime
