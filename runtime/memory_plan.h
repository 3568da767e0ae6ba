#pragma once

// What a session will reserve, worked out before it is reserved. available_memory.h has what the machine can
// give.

#include "cpu/quantize.h"
#include "quant/base/op_params.h"
#include "runtime/available_memory.h"
#include "runtime/kv_layout.h"
#include "runtime/model_spec.h"

#include <cstdint>

namespace greenroom::runtime {

struct MemoryPlan {
    std::int64_t kv_cache_bytes = 0;    // rows, rings and states
    std::int64_t checkpoint_bytes = 0;  // to go back to, see SequenceMemory
    std::int64_t working_bytes = 0;     // activations, scratch, logits
    // Where a GPU runs layers: what the session takes of RAM besides the CPU's layers, for the experts that
    // the CPU computes and for what host and GPU share.
    std::int64_t beside_gpu_bytes = 0;

    std::int64_t total() const noexcept { return kv_cache_bytes + checkpoint_bytes + working_bytes; }
};

// Rows of logits that are worked out at a time.
inline constexpr std::int64_t kLogitsRows = 32;

// Floats of the largest matrix that is handed from a GPU to the host: logits, or what an observer sees.
std::int64_t read_back_floats(const ModelSpec& spec, std::int64_t batch_tokens) noexcept;

MemoryPlan plan_memory(const ModelSpec& spec, const KvLayout& layout, int n_checkpoints,
                       std::int64_t batch_tokens, int n_threads, Activations activations);

// Floats of scratch per thread.
std::int64_t scratch_floats_needed(const ModelSpec& spec, std::int64_t context_tokens) noexcept;

// Blocks (cpu/quantize.h) that the quantized activations of the largest product take; 0 for float32.
std::int64_t activation_blocks_needed(const ModelSpec& spec, std::int64_t batch_tokens,
                                      Activations activations) noexcept;

// How many planes of them a product reads.
cpu::ProductPlanes product_planes(Activations activations) noexcept;

// Error{out_of_memory} when the plan needs more than available_bytes: names the sizes and the context that
// would fit.
void check_plan(const MemoryPlan& plan, const KvLayout& layout, std::int64_t available_bytes);

}  // namespace greenroom::runtime
