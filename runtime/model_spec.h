#pragma once

// ModelSpec: what a model is, as data. An architecture (runtime/arch/) reads it from a GGUF's metadata;
// weights.cpp takes tensor names and shapes from it; the forward pass does what it says. A new architecture
// that only recombines what is here needs no new forward code.

#include "quant/base/op_params.h"

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace greenroom::runtime {

// Rotary embedding of the first (or only) rotated part of a head.
struct RopeSpec {
    int n_dims = 0;  // rotated values per head, even
    RopePairing pairing = RopePairing::neighbours;
    std::vector<float> frequencies;  // n_dims / 2 radians per position, scaling (YaRN) applied; see rope.h
    float magnitude = 1.0F;          // multiplies cosine and sine
};

// Multi-head latent attention: DeepSeek-V2, arXiv:2405.04434, section 2.1. The KV cache holds latent_dim +
// rope_dim values per token and layer.
struct MlaSpec {
    int n_heads = 0;
    int q_rank = 0;      // rank of the query compression; 0: none (DeepSeek-V2-Lite)
    int latent_dim = 0;  // kv_lora_rank
    int nope_dim = 0;    // of a head's query and key: not rotated …
    int rope_dim = 0;    // … and rotated
    int value_dim = 0;   // of a head
    float scale = 0;     // of the scores: 1/√(nope_dim + rope_dim), times YaRN's mscale²

    MlaShape shape() const noexcept { return {n_heads, latent_dim, rope_dim, scale}; }
};

using AttentionSpec = std::variant<MlaSpec>;

// Gated feed-forward network: down · (silu(gate · x) ∘ (up · x)).
struct DenseFfnSpec {
    int d_ff = 0;
};

// Routed experts, each a gated network of width d_ff, plus shared experts that every token uses (as one
// network of width shared_d_ff; 0: none).
struct MoeFfnSpec {
    RouterRule router;
    bool has_selection_bias = false;  // exp_probs_b
    int d_ff = 0;
    int shared_d_ff = 0;
};

using FfnSpec = std::variant<DenseFfnSpec, MoeFfnSpec>;

struct LayerSpec {
    AttentionSpec attention;
    FfnSpec ffn;
};

struct ModelSpec {
    std::string architecture;
    int d_model = 0;
    int n_vocab = 0;
    std::int64_t context_length = 0;  // trained (after scaling): the longest session
    float norm_eps = 0;
    RopeSpec rope;
    std::vector<LayerSpec> layers;

    int n_layers() const noexcept { return static_cast<int>(layers.size()); }
};

// Values that a token leaves in the KV cache of one layer.
std::int64_t kv_row_values(const AttentionSpec& attention) noexcept;

// Values of the longest row of any weight matrix, experts per layer at most, and the like: what buffers are
// sized by.
struct ModelExtent {
    std::int64_t max_row = 0;
    std::int64_t max_experts = 0;
    std::int64_t max_top_k = 0;
    std::int64_t max_expert_d_ff = 0;
    std::int64_t max_dense_d_ff = 0;  // shared experts included
};

ModelExtent extent_of(const ModelSpec& spec) noexcept;

}  // namespace greenroom::runtime
