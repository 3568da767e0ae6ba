#pragma once

// One function per architecture: GGUF metadata in, ModelSpec out. Each is in the file of its name;
// registry.cpp lists them. All throw Error{bad_input} for missing or impossible metadata and {unsupported}
// for variants that they don't know.

#include "quant/gguf.h"
#include "runtime/model_spec.h"

namespace greenroom::runtime {

ModelSpec read_deepseek2(const quant::Gguf& gguf);   // DeepSeek V2, V2-Lite, V3, R1, Kimi K2
ModelSpec read_deepseek32(const quant::Gguf& gguf);  // DeepSeek V3.2
ModelSpec read_glm4moe(const quant::Gguf& gguf);     // GLM-4.5, 4.6
ModelSpec read_gpt_oss(const quant::Gguf& gguf);     // gpt-oss-20b, 120b
ModelSpec read_granitemoe(const quant::Gguf& gguf);  // Granite 3 MoE
ModelSpec read_llama(const quant::Gguf& gguf);       // Mixtral
ModelSpec read_llama4(const quant::Gguf& gguf);      // Llama 4 Scout, Maverick
ModelSpec read_olmoe(const quant::Gguf& gguf);       // OLMoE
ModelSpec read_qwen2moe(const quant::Gguf& gguf);    // Qwen1.5-MoE, Qwen2-57B-A14B
ModelSpec read_qwen35moe(const quant::Gguf& gguf);   // Qwen3.5 35B-A3B, 122B-A10B, 397B-A17B
ModelSpec read_qwen3moe(const quant::Gguf& gguf);    // Qwen3 30B-A3B, 235B-A22B, Coder
ModelSpec read_qwen3next(const quant::Gguf& gguf);   // Qwen3-Next 80B-A3B

}  // namespace greenroom::runtime
