#pragma once

// TensorOverrides: rules that say by a tensor's name on which device it is to lie, as llama.cpp's
// --override-tensor; and what they come to here, where a GPU takes the experts of a layer or leaves them to
// the CPU, and everything else by whole layers.

#include "quant/gguf.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace greenroom::runtime {

struct TensorOverride {
    enum class Device { cpu, gpu };

    std::string pattern;  // a regular expression (PCRE2), searched for in the name
    Device device = Device::cpu;
};

// "PATTERN=CPU" or "PATTERN=CUDA0", or several with commas between them. Error{bad_input} for another device
// and for a pattern that is none.
std::vector<TensorOverride> parse_tensor_overrides(std::string_view text);

// The layers, in rising order, whose experts are to stay with the CPU: those that the rules say, of which the
// first that matches a tensor decides; and of the layers of which they say nothing, the first n_cpu_layers. A
// rule that matches no tensor, and one that would cut a layer's experts in two, is a warning in the log.
// Error{bad_input} for a rule that would move something else to the CPU, and for a pattern that takes too
// many steps.
std::vector<int> cpu_expert_layers(const quant::Gguf& file, const std::vector<TensorOverride>& overrides,
                                   std::int64_t n_cpu_layers);

}  // namespace greenroom::runtime
