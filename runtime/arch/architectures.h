#pragma once

// One function per architecture: GGUF metadata in, ModelSpec out. Each is in the file of its name;
// registry.cpp lists them. All throw Error{bad_input} for missing or impossible metadata and {unsupported}
// for variants that they don't know.

#include "quant/gguf.h"
#include "runtime/model_spec.h"

namespace greenroom::runtime {

ModelSpec read_deepseek2(const quant::Gguf& gguf);  // DeepSeek V2, V2-Lite, V3, R1, Kimi K2

}  // namespace greenroom::runtime
