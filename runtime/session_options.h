#pragma once

// SessionOptions: how a session is to be made, and SessionPlan: what that comes to for a model.

#include "quant/base/op_params.h"
#include "runtime/kv_layout.h"
#include "runtime/layer_range.h"
#include "runtime/memory_plan.h"
#include "runtime/model_spec.h"

#include <cstdint>
#include <string>

namespace greenroom::runtime {

struct SessionOptions {
    // KV cache size; 0: the model's context length, at most kDefaultContextTokens
    std::int64_t context_tokens = 0;
    std::int64_t batch_tokens = 512;              // tokens of one forward pass in prefill
    Activations activations = Activations::int8;  // of products with quantized weights
    KvTypes kv_types = {};
    WindowRows window_rows = WindowRows::ring;
    int n_checkpoints = kAutoCheckpoints;  // places to go back to, where the model needs them

    static constexpr int kAutoCheckpoints = -1;  // see default_checkpoints()
};

inline constexpr std::int64_t kDefaultContextTokens = 4096;

struct SessionPlan {
    std::int64_t context_tokens = 0;
    std::int64_t batch_tokens = 0;
    Activations activations = Activations::int8;
    KvTypes kv_types = {};
    KvLayout layout;
    int n_checkpoints = 0;
    MemoryPlan memory;
};

// Error{bad_input} for a context longer than the model's (saying by how much) and for impossible numbers,
// {unsupported} for KV types that the model's heads cannot have. path is for messages.
SessionPlan plan_session(const ModelSpec& spec, const std::string& path, const SessionOptions& options,
                         int n_threads);

// What a session of this plan takes of RAM where a GPU runs these of the layers and the CPU those before.
std::int64_t bytes_beside_gpu(const ModelSpec& spec, const SessionPlan& plan, LayerRange gpu_layers);

}  // namespace greenroom::runtime
