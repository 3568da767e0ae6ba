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
    bool has_divisors = false;       // the frequencies have been divided by the file's rope_freqs.weight
};

// What sharpens the queries of late positions (Llama 4): that at position p is multiplied by
// 1 + scale · ln(floor((p + 1) / period) + 1).
struct QueryTemperature {
    float scale = 0;
    float period = 1;

    float at(std::int64_t position) const noexcept;
};

// The lightning indexer of DeepSeek Sparse Attention (DeepSeek-V3.2, arXiv:2512.02556, section 2.1): heads of
// its own score the earlier tokens, and attention sees the top_k best only.
struct IndexerSpec {
    int n_heads = 0;  // 0: none
    int head_dim = 0;
    int top_k = 0;
};

// Multi-head latent attention: DeepSeek-V2, arXiv:2405.04434, section 2.1. The KV cache holds latent_dim +
// rope_dim values per token and layer, and the indexer's key.
struct MlaSpec {
    int n_heads = 0;
    int q_rank = 0;      // rank of the query compression; 0: none (DeepSeek-V2-Lite)
    int latent_dim = 0;  // kv_lora_rank
    int nope_dim = 0;    // of a head's query and key: not rotated …
    int rope_dim = 0;    // … and rotated
    int value_dim = 0;   // of a head
    float scale = 0;     // of the scores: 1/√(nope_dim + rope_dim), times YaRN's mscale²
    IndexerSpec indexer;

    MlaShape shape() const noexcept { return {n_heads, latent_dim, rope_dim, scale}; }
};

// Attention with grouped queries, and what families add to it.
struct GqaSpec {
    // What is normalised by its root mean square before the scores (Henry et al. 2020, arXiv:2010.04245).
    enum class QkNorm {
        none,
        per_head,    // each head's query and key, with weights of head_dim (Qwen3)
        whole_row,   // all heads together, with weights of the whole row (OLMoE)
        after_rope,  // each head's, rotated already and without weights (Llama 4)
    };

    GqaShape shape;
    QkNorm qk_norm = QkNorm::none;
    bool has_qkv_bias = false;
    bool has_output_bias = false;
    bool has_sinks = false;
    bool has_output_gate = false;  // q gives a gate besides each head's query: result · sigmoid(gate)
                                   // (Qiu et al. 2025, arXiv:2505.06708; Qwen3-Next)
    bool rotates = true;           // false: the layer has no position embedding (Llama 4)
    bool has_temperature = false;  // queries are multiplied by that of their position (QueryTemperature)
};

// Gated DeltaNet in the place of attention: a state of fixed size instead of cached rows.
struct DeltaNetSpec {
    DeltaNetShape shape;
    // Queries, keys, values and gates come from one matrix, those of a key head together (the first files of
    // Qwen3-Next).
    bool projects_by_key_head = false;
};

using AttentionSpec = std::variant<MlaSpec, GqaSpec, DeltaNetSpec>;

// Gated feed-forward network: down · glu(gate · x, up · x).
struct DenseFfnSpec {
    int d_ff = 0;
};

// Routed experts, each a gated network of width d_ff, plus shared experts that every token uses (as one
// network of width shared_d_ff; 0: none).
struct MoeFfnSpec {
    RouterRule router;
    bool has_selection_bias = false;  // exp_probs_b: added for the choice only
    bool has_router_bias = false;     // ffn_gate_inp.bias: added to the logits
    bool has_expert_bias = false;     // on all three products of an expert
    bool weighs_input = false;        // the weight multiplies the expert's input, not its output (Llama 4)
    Glu glu = Glu::silu;
    int d_ff = 0;
    int shared_d_ff = 0;
    bool has_shared_gate =
        false;  // the shared expert's output is multiplied by sigmoid(gate · x) (Qwen2-MoE)
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
    QueryTemperature temperature;            // of the layers that have one
    std::string ffn_norm_name = "ffn_norm";  // tensor of the norm before the feed-forward network
    // Granite's multipliers; 1 elsewhere.
    float embedding_scale = 1.0F;
    float residual_scale = 1.0F;  // of what a block adds
    float logit_scale = 1.0F;
    std::vector<LayerSpec> layers;

    int n_layers() const noexcept { return static_cast<int>(layers.size()); }
};

// Values of the longest row of any weight matrix, experts per layer at most, and the like: what buffers are
// sized by.
struct ModelExtent {
    std::int64_t max_row = 0;
    std::int64_t max_kv_row = 0;       // of cached values that a head reads
    std::int64_t max_indexer_row = 0;  // of cached keys of an indexer
    std::int64_t max_experts = 0;
    std::int64_t max_top_k = 0;
    std::int64_t max_expert_d_ff = 0;
    std::int64_t max_dense_d_ff = 0;  // shared experts included
};

ModelExtent extent_of(const ModelSpec& spec) noexcept;

}  // namespace greenroom::runtime
