#pragma once

// ExpertId: which routed expert, the unit that tiers hold, policies rank and movers move.

#include <compare>
#include <cstdint>

namespace greenroom::cache {

struct ExpertId {
    std::int32_t layer = 0;  // block of the model, dense blocks counted
    std::int32_t index = 0;  // within the layer, 0 to n_experts - 1

    friend auto operator<=>(const ExpertId&, const ExpertId&) = default;
};

}  // namespace greenroom::cache
