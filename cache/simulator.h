#pragma once

// The simulator: replays a trace against a policy, or against Belady's optimum, and counts.
//
// The unit is one expert of one layer. A request is the experts of one token in one layer, tokens in order
// and layers within a token; the experts of the request itself cannot be evicted by it. The cache starts
// empty and is carried over from text to text. Every miss is loaded, unless its quota is smaller than the
// request.

#include "cache/policy.h"
#include "cache/trace.h"

#include <cstdint>
#include <memory>
#include <string_view>

namespace greenroom::cache {

struct SimulationResult {
    std::int64_t n_calls = 0;  // tokens · layers · k
    std::int64_t n_hits = 0;
    std::int64_t n_loads = 0;
    // With CountForeseen::yes, misses that were among the top_k missing experts of their layer that the
    // policy valued most before the request: what could have been read ahead by the calls alone.
    std::int64_t n_foreseen = 0;

    double hit_rate() const noexcept {
        return n_calls == 0 ? 0.0 : static_cast<double>(n_hits) / static_cast<double>(n_calls);
    }
    // Of the misses.
    double foreseen() const noexcept {
        return n_calls == n_hits ? 0.0
                                 : static_cast<double>(n_foreseen) / static_cast<double>(n_calls - n_hits);
    }
};

// The shape of a cache for this trace's model that holds `size` (0 … 1) of all experts.
CacheShape shape_for(const Trace& trace, double size);

// Counting takes about half as long again as LRU does.
enum class CountForeseen { no, yes };

// The policy has the shape of shape_for() and has seen nothing yet.
SimulationResult simulate(const Trace& trace, Policy& policy, CountForeseen foreseen = CountForeseen::no);

// What the simulator calls the optimum, beside the names of policies.h.
inline constexpr std::string_view kOptimum = "belady";

// Evicts the expert that is called again latest, or never [Belady 1966; Mattson et al. 1970: MIN]. No policy
// that loads every miss can hit more often. It knows the future: `trace`, which must outlive it, is what it
// will be asked. Constructing it takes time and memory in proportion to the trace.
std::unique_ptr<Policy> make_optimum(const Trace& trace, const CacheShape& shape, Scope scope);

// The policy of this name, or the optimum, on a cache of this size. Error{bad_input} for an unknown name.
SimulationResult simulate(const Trace& trace, std::string_view policy, Scope scope, double size,
                          CountForeseen foreseen = CountForeseen::no);

}  // namespace greenroom::cache
