#pragma once

// The policy `learned`: keeps the experts that a ReuseModel expects to be called soonest.
//
// How far it looks ahead is measured, not set: an expert that is never called stays for about slots / misses
// per token tokens, so calls much further ahead than that don't matter to whom to evict.
//
// score() is the model's estimate, discount^(d − 1) for a call d tokens ahead. A prediction with probability
// q raises it to q + (1 − q) · score until the layer is asked again.

#include "cache/policy.h"

#include <cstdint>
#include <memory>

namespace greenroom::cache {

// What the policy reserves beside the books of every policy.
std::int64_t learned_policy_bytes(const CacheShape& shape) noexcept;

std::unique_ptr<Policy> make_learned_policy(const CacheShape& shape, Scope scope);

}  // namespace greenroom::cache
