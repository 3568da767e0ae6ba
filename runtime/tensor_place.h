#pragma once

// What a tensor's name says about its place in the model.

#include <cstdint>
#include <string_view>

namespace greenroom::runtime {

struct TensorPlace {
    std::int64_t layer = -1;   // -1: in none
    bool is_expert = false;    // belongs to routed experts …
    std::int64_t expert = -1;  // … all of the layer's (-1), or this one
};

// blk.N.ffn_{gate,up,down,gate_up}_exps.* holds a layer's experts; blk.N.ffn_{gate,up,down}.E.weight is one
// of the old unmerged kind.
TensorPlace place_of(std::string_view name);

}  // namespace greenroom::runtime
