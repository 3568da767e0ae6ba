#pragma once

// The kernels of Kernels::delta_steps: some tokens of a head of the delta rule (delta_net.h).

#include <cstdint>

namespace greenroom::cpu {

// A token of a head. With α and β its two gates and S the state, whose rows are independent of each other:
//   c = β · (value − α·S·key)      S ← α·S + c·keyᵀ
// out = (α·S·query + c·(key · query)) / √key_dim of the S before, which is delta_rule()'s S·query without
// reading S again.
struct DeltaToken {
    const float* query;  // key_dim, as is key
    const float* key;
    const float* value;  // value_dim, as is out
    float* out;
    float alpha;
    float beta;
    float key_query;  // key · query
};

struct DeltaSteps {
    const DeltaToken* tokens;  // one after the other
    std::int64_t n_tokens;
    const float* state;  // [value_dim, key_dim]
    float* next_state;   // may be state
    std::int64_t key_dim;
    std::int64_t value_dim;
};

// The scalar one sums up in double.
void delta_steps_scalar(const DeltaSteps& steps) noexcept;
void delta_steps_avx2(const DeltaSteps& steps) noexcept;
void delta_steps_avx512(const DeltaSteps& steps) noexcept;

}  // namespace greenroom::cpu
