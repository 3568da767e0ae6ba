#pragma once

// What a session will reserve, worked out before it is reserved, and what the machine can give.

#include "runtime/model_spec.h"

#include <cstdint>

namespace greenroom::runtime {

struct MemoryPlan {
    std::int64_t kv_cache_bytes = 0;
    std::int64_t working_bytes = 0;  // activations, scratch, logits

    std::int64_t total() const noexcept { return kv_cache_bytes + working_bytes; }
};

// Rows of logits that are worked out at a time.
inline constexpr std::int64_t kLogitsRows = 32;

MemoryPlan plan_session(const ModelSpec& spec, std::int64_t context_tokens, std::int64_t batch_tokens,
                        int n_threads);

// Error{out_of_memory} when the plan needs more than available_bytes: names the sizes and the context that
// would fit.
void check_plan(const MemoryPlan& plan, const ModelSpec& spec, std::int64_t context_tokens,
                std::int64_t available_bytes);

// Bytes that can be had without swapping: what the kernel calls available, within the cgroup's limit. The
// mapped weights are page cache and count as available. INT64_MAX where the system does not say.
std::int64_t available_memory_bytes();

}  // namespace greenroom::runtime
