#pragma once

// What a GGUF holds, counted: parameters in total and per token, bytes per residency class and per type.
// Works on any GGUF, known architecture or not, on vocabulary files and on single parts of a split model.

#include "quant/gguf.h"

#include <cstdint>
#include <string>
#include <vector>

namespace greenroom::runtime {

struct TypeShare {
    quant::Type type;
    std::int64_t n_tensors = 0;
    std::int64_t n_values = 0;
    std::int64_t bytes = 0;
};

struct ModelInventory {
    std::string architecture;         // general.architecture, or "unknown"
    std::string name;                 // general.name, or empty
    std::string file_type;            // general.file_type by name (Q4_K_M); where the file does not say, the
                                      // type with the most bytes; empty without tensors
    bool known_architecture = false;  // Greenroom can run it

    std::int64_t n_parameters = 0;         // all tensors
    std::int64_t n_active_parameters = 0;  // read for one token: routed experts count top_k of n_experts, the
                                           // input embedding one row unless it is also the output matrix
    std::int64_t resident_bytes = 0;       // every tensor that is no routed expert
    std::int64_t expert_bytes = 0;         // all routed experts
    std::int64_t active_bytes = 0;         // of active parameters

    std::int64_t n_layers = 0;
    std::int64_t n_moe_layers = 0;
    std::int64_t n_experts = 0;  // per MoE layer
    std::int64_t top_k = 0;
    std::int64_t one_expert_bytes = 0;  // the largest, over layers: gate, up and down together
    std::int64_t context_length = 0;

    std::vector<TypeShare> types;  // by falling bytes
};

ModelInventory take_inventory(const quant::Gguf& gguf);

}  // namespace greenroom::runtime
