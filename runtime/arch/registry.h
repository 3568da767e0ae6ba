#pragma once

// The architectures that Greenroom knows, by the name in general.architecture.

#include "quant/gguf.h"
#include "runtime/model_spec.h"

#include <string>
#include <string_view>

namespace greenroom::runtime {

bool is_known_architecture(std::string_view name) noexcept;

// Reads the spec of any known architecture. Error{unsupported} for an unknown one, listing the known;
// {bad_input} where metadata are missing or out of range.
ModelSpec read_model_spec(const quant::Gguf& gguf);

}  // namespace greenroom::runtime
