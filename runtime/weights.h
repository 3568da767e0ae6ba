#pragma once

// Weights: where each tensor of a model is, by what it is for, checked against the ModelSpec: name, shape and
// type. Norms and biases are copied to float32, since they are small and used as they are. The views are
// those of the Gguf at first, into the mapped file; ResidentWeights points what every token needs to memory.

#include "quant/base/tensor_view.h"
#include "quant/gguf.h"
#include "runtime/model_spec.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <variant>
#include <vector>

namespace greenroom::runtime {

// Shapes are [rows, row length], as a matrix that is multiplied from the left.
struct IndexerWeights {
    TensorView q;               // [n_heads · head_dim, q_rank], of the compressed query
    TensorView k;               // [head_dim, d_model]
    std::vector<float> k_norm;  // [head_dim]: weight and bias of a layer norm
    std::vector<float> k_norm_bias;
    TensorView head_weights;  // [n_heads, d_model]
};

struct MlaWeights {
    // Either q [n_heads · (nope + rope), d_model], or the compressed pair q_a [q_rank, d_model] and
    // q_b [n_heads · (nope + rope), q_rank] with a norm between them.
    TensorView q;
    TensorView q_a;
    std::vector<float> q_a_norm;
    TensorView q_b;
    TensorView kv_a;               // [latent + rope, d_model]
    std::vector<float> kv_a_norm;  // [latent]
    TensorView k_b;                // per head [latent, nope]: takes a query into latent space,
    TensorView k_b_transposed;     // or per head [nope, latent], in files from before April 2025
    TensorView v_b;                // per head [value, latent]: takes a latent value out of it
    TensorView output;             // [d_model, n_heads · value]
    std::optional<IndexerWeights> indexer;
};

struct GqaWeights {
    TensorView q;  // [n_heads · head_dim, d_model]; with an output gate each head's gate follows its query
    TensorView k;  // [n_kv_heads · head_dim, d_model]
    TensorView v;  // [n_kv_heads · value_dim, d_model]
    TensorView output;  // [d_model, n_heads · value_dim]
    // Each empty where the spec says that the model has none.
    std::vector<float> q_bias;
    std::vector<float> k_bias;
    std::vector<float> v_bias;
    std::vector<float> output_bias;
    std::vector<float> q_norm;  // [head_dim], or [n_heads · head_dim]
    std::vector<float> k_norm;  // [head_dim], or [n_kv_heads · head_dim]
    std::vector<float> sinks;   // [n_heads]
};

struct DeltaNetWeights {
    TensorView qkv;                 // [channels, d_model]
    TensorView z;                   // [n_value_heads · value, d_model]: gate of the result
    TensorView qkvz;                // or both in one, key head by key head (see DeltaNetSpec)
    std::vector<TensorView> gates;  // beta [n_value_heads, d_model] and alpha, or both in one matrix
    std::vector<float> conv;        // [channels, conv_width]
    std::vector<float> a;           // [n_value_heads], negative
    std::vector<float> dt_bias;     // [n_value_heads]
    std::vector<float> norm;        // [value]
    TensorView output;              // [d_model, n_value_heads · value]
};

using AttentionWeights = std::variant<MlaWeights, GqaWeights, DeltaNetWeights>;

struct DenseFfnWeights {
    TensorView gate;  // [d_ff, d_model]
    TensorView up;    // [d_ff, d_model]
    TensorView down;  // [d_model, d_ff]
};

struct ExpertWeights {
    TensorView gate;  // [d_ff, d_model]
    TensorView up;    // [d_ff, d_model]
    TensorView down;  // [d_model, d_ff]
};

struct MoeFfnWeights {
    TensorView router;                  // [n_experts, d_model]
    std::vector<float> selection_bias;  // [n_experts], or empty
    std::vector<float> router_bias;     // [n_experts], or empty
    std::vector<ExpertWeights> experts;
    // Of all experts, one after the other: [n_experts · d_ff] twice and [n_experts · d_model], or empty.
    std::vector<float> gate_bias;
    std::vector<float> up_bias;
    std::vector<float> down_bias;
    std::optional<DenseFfnWeights> shared;
    std::optional<TensorView> shared_gate;  // [1, d_model]
};

using FfnWeights = std::variant<DenseFfnWeights, MoeFfnWeights>;

struct LayerWeights {
    std::vector<float> attention_norm;  // [d_model]
    AttentionWeights attention;
    std::vector<float> ffn_norm;  // [d_model]
    FfnWeights ffn;
};

struct Weights {
    TensorView token_embedding;      // [n_vocab, d_model]
    std::vector<float> output_norm;  // [d_model]
    TensorView output;               // [n_vocab, d_model]; the embedding where the file has none (tied)
    std::vector<LayerWeights> layers;
};

// Finds every tensor that the spec calls for. Error{bad_input} for a missing tensor or a wrong shape,
// {unsupported} for a type that cannot be decoded and for a tensor that the spec has no use for: ignoring it
// could mean a wrong answer.
Weights bind_weights(const quant::Gguf& gguf, const ModelSpec& spec);

// Calls visit with every view that there is but those of the routed experts. One that two uses share (a tied
// output) is visited twice.
void for_each_resident(Weights& weights, const std::function<void(TensorView&)>& visit);

}  // namespace greenroom::runtime
