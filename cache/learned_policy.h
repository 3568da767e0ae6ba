#pragma once

// The policy `learned`: keeps the experts that are likely to be called soonest, by one of three rankings:
//
//     frequency  calls, each counting 0.95^(its age in requests of the layer): the policy `decay`
//     learned    what a ReuseModel expects
//     recency    when it was last called: the policy `lru`
//
// It begins as `decay` and follows whoever would have hit most often so far; ShadowCaches tell. So it costs
// little where there is nothing to learn (a short text, most experts resident) or where sets of experts
// replace each other all at once, which LRU is best at.
//
// How far the model looks ahead is measured, not set: an expert that is never called stays for about slots /
// misses per token tokens, so calls much further ahead than that don't matter to whom to evict.
//
// score() is the decayed share of tokens that called the expert; the model's estimate, discount^(d − 1) for a
// call d tokens ahead; or 1 / (1 + its age in tokens): between 0 and 1 or so. A prediction with probability q
// raises it to q + (1 − q) · score until the layer is asked again.
//
// Cost per request: the model's (reuse_model.h), and about a tenth to a quarter of that for the shadows.

#include "cache/policy.h"

#include <cstdint>
#include <memory>

namespace greenroom::cache {

// What the policy reserves beside the books of every policy.
std::int64_t learned_policy_bytes(const CacheShape& shape) noexcept;

std::unique_ptr<Policy> make_learned_policy(const CacheShape& shape, Scope scope);

}  // namespace greenroom::cache
