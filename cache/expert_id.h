#pragma once

// ExpertId: the name of a routed expert in this layer of the program.

#include <cstdint>

namespace greenroom::cache {

struct ExpertId {
    std::int32_t layer = 0;  // counts the model's MoE layers from 0; layers without experts have no number
    std::int32_t index = 0;  // in its layer

    friend bool operator==(const ExpertId&, const ExpertId&) = default;
};

}  // namespace greenroom::cache
