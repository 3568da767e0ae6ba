#pragma once

// The policies by name.
//
//     name     score of an expert (the lowest is evicted)                           work per request
//     learned  decay, lru or how soon it will be called, as learned so far:         O(k · E)
//              whichever would have hit most (learned_policy.h)
//     lru      when it was last called                                              O(k)
//     fifo     when it was loaded                                                   O(k)
//     random   none: every evictable expert is as good a victim as any other        O(1); victim O(E · L)
//     lfu      how often it was called; among equals the least recently called      O(k)
//     decay    calls, each counting 0.95^(its age in tokens)                        O(k)
//
// k experts of a request, E experts of a layer, L layers.

#include "cache/policy.h"

#include <memory>
#include <span>
#include <string_view>

namespace greenroom::cache {

inline constexpr std::string_view kDefaultPolicy = "learned";
inline constexpr Scope kDefaultScope = Scope::layer;

// All names, the default first.
std::span<const std::string_view> policy_names() noexcept;

// Error{bad_input} for a name that is not in the table.
std::unique_ptr<Policy> make_policy(std::string_view name, const CacheShape& shape, Scope scope);

// Memory that a policy takes, in bytes, about.
std::int64_t policy_bytes(std::string_view name, const CacheShape& shape);

// The decayed frequency with another decay per token, within (0, 1).
std::unique_ptr<Policy> make_decay_policy(double decay, const CacheShape& shape, Scope scope);

}  // namespace greenroom::cache
