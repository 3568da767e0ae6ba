#pragma once

// Weights: where each tensor of a model is, by what it is for, checked against the ModelSpec: name, shape and
// type. Matrices are views of native blocks, in the mapped file at first; ResidentWeights points what every
// token needs to memory. Norms, biases and the like are small and used as they are: arrays of float32, read
// when the weights are bound. A copy can be pointed elsewhere, say to a GPU's memory (for_each_resident()).

#include "quant/base/tensor_view.h"
#include "quant/gguf.h"
#include "runtime/layer_range.h"
#include "runtime/model_spec.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

namespace greenroom::runtime {

// Values that are used as they are; empty where the model has none.
using FloatArray = std::span<const float>;

// Shapes are [rows, row length], as a matrix that is multiplied from the left.
struct IndexerWeights {
    TensorView q;       // [n_heads · head_dim, q_rank], of the compressed query
    TensorView k;       // [head_dim, d_model]
    FloatArray k_norm;  // [head_dim]: weight and bias of a layer norm
    FloatArray k_norm_bias;
    TensorView head_weights;  // [n_heads, d_model]
};

struct MlaWeights {
    // Either q [n_heads · (nope + rope), d_model], or the compressed pair q_a [q_rank, d_model] and
    // q_b [n_heads · (nope + rope), q_rank] with a norm between them.
    TensorView q;
    TensorView q_a;
    FloatArray q_a_norm;
    TensorView q_b;
    TensorView kv_a;            // [latent + rope, d_model]
    FloatArray kv_a_norm;       // [latent]
    TensorView k_b;             // per head [latent, nope]: takes a query into latent space,
    TensorView k_b_transposed;  // or per head [nope, latent], in files from before April 2025
    TensorView v_b;             // per head [value, latent]: takes a latent value out of it
    TensorView output;          // [d_model, n_heads · value]
    std::optional<IndexerWeights> indexer;
};

struct GqaWeights {
    TensorView q;  // [n_heads · head_dim, d_model]; with an output gate each head's gate follows its query
    TensorView k;  // [n_kv_heads · head_dim, d_model]
    TensorView v;  // [n_kv_heads · value_dim, d_model]
    TensorView output;  // [d_model, n_heads · value_dim]
    FloatArray q_bias;
    FloatArray k_bias;
    FloatArray v_bias;
    FloatArray output_bias;
    FloatArray q_norm;  // [head_dim], or [n_heads · head_dim]
    FloatArray k_norm;  // [head_dim], or [n_kv_heads · head_dim]
    FloatArray sinks;   // [n_heads]
};

struct DeltaNetWeights {
    TensorView qkv;                 // [channels, d_model]
    TensorView z;                   // [n_value_heads · value, d_model]: gate of the result
    TensorView qkvz;                // or both in one, key head by key head (see DeltaNetSpec)
    std::vector<TensorView> gates;  // beta [n_value_heads, d_model] and alpha, or both in one matrix
    FloatArray conv;                // [channels, conv_width]
    FloatArray a;                   // [n_value_heads], negative
    FloatArray dt_bias;             // [n_value_heads]
    FloatArray norm;                // [value]
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
    TensorView router;          // [n_experts, d_model]
    FloatArray selection_bias;  // [n_experts], or empty
    FloatArray router_bias;     // [n_experts], or empty
    std::vector<ExpertWeights> experts;
    // Of all experts, one after the other: [n_experts · d_ff] twice and [n_experts · d_model], or empty.
    FloatArray gate_bias;
    FloatArray up_bias;
    FloatArray down_bias;
    std::optional<DenseFfnWeights> shared;
    std::optional<TensorView> shared_gate;  // [1, d_model]
};

using FfnWeights = std::variant<DenseFfnWeights, MoeFfnWeights>;

struct LayerWeights {
    FloatArray attention_norm;  // [d_model]
    AttentionWeights attention;
    FloatArray ffn_norm;  // [d_model]
    FfnWeights ffn;
};

struct Weights {
    TensorView token_embedding;  // [n_vocab, d_model]
    FloatArray output_norm;      // [d_model]
    TensorView output;           // [n_vocab, d_model]; the embedding where the file has none (tied)
    std::vector<LayerWeights> layers;

    // What the arrays look at. Its owners are the Weights that were bound and their copies, so that no array
    // outlives its values; nobody writes to it any more.
    std::shared_ptr<const std::vector<std::vector<float>>> values;
};

// Finds every tensor that the spec calls for. Error{bad_input} for a missing tensor or a wrong shape,
// {unsupported} for a type that cannot be decoded and for a tensor that the spec has no use for: ignoring it
// could mean a wrong answer.
Weights bind_weights(const quant::Gguf& gguf, const ModelSpec& spec);

// Calls visit_matrix with every view that these layers have but those of the routed experts, and visit_array
// with every array that is not empty, those of the experts' biases included. One that two uses share (a tied
// output) is visited twice.
void for_each_resident(Weights& weights, LayerRange layers,
                       const std::function<void(TensorView&)>& visit_matrix,
                       const std::function<void(FloatArray&)>& visit_array);

}  // namespace greenroom::runtime
