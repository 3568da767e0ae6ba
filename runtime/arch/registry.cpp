#include "runtime/arch/registry.h"

#include "quant/base/error.h"
#include "runtime/arch/architectures.h"
#include "runtime/arch/metadata.h"

#include <algorithm>
#include <array>

namespace greenroom::runtime {
namespace {

struct Architecture {
    std::string_view name;
    ModelSpec (*read)(const quant::Gguf& gguf);
};

constexpr std::array kArchitectures = {
    Architecture{"deepseek2", read_deepseek2},   Architecture{"deepseek32", read_deepseek32},
    Architecture{"glm4moe", read_glm4moe},       Architecture{"gpt-oss", read_gpt_oss},
    Architecture{"granitemoe", read_granitemoe}, Architecture{"llama", read_llama},
    Architecture{"llama4", read_llama4},         Architecture{"olmoe", read_olmoe},
    Architecture{"qwen2moe", read_qwen2moe},     Architecture{"qwen35moe", read_qwen35moe},
    Architecture{"qwen3moe", read_qwen3moe},     Architecture{"qwen3next", read_qwen3next},
};

const Architecture* find_architecture(std::string_view name) noexcept {
    const auto* found = std::find_if(kArchitectures.begin(), kArchitectures.end(),
                                     [name](const Architecture& a) { return a.name == name; });
    return found == kArchitectures.end() ? nullptr : found;
}

std::string known_names() {
    std::string names;
    for (const Architecture& a : kArchitectures) names += (names.empty() ? "" : ", ") + std::string(a.name);
    return names;
}

}  // namespace

bool is_known_architecture(std::string_view name) noexcept { return find_architecture(name) != nullptr; }

ModelSpec read_model_spec(const quant::Gguf& gguf) {
    const std::string_view name = gguf.require_string("general.architecture");
    const Architecture* architecture = find_architecture(name);
    if (architecture == nullptr)
        fail(ErrorKind::unsupported, "{}: metadata general.architecture: found {}, known are: {}",
             gguf.path(), name, known_names());
    ModelSpec spec = architecture->read(gguf);
    spec.architecture = name;
    // The vocabulary's size is that of its tokens; the embedding and output matrices must agree with it.
    const quant::GgufArray* tokens = gguf.find_array("tokenizer.ggml.tokens");
    if (tokens == nullptr || tokens->size() == 0 || tokens->size() > kMaxDim)
        fail(ErrorKind::bad_input, "{}: metadata tokenizer.ggml.tokens: {} tokens found, expected 1 to {}",
             gguf.path(), tokens == nullptr ? 0 : tokens->size(), kMaxDim);
    spec.n_vocab = static_cast<int>(tokens->size());
    return spec;
}

}  // namespace greenroom::runtime
