#include "runtime/engine.h"

#include "cpu/kernels.h"
#include "cpu/parallel.h"
#include "quant/base/error.h"
#include "runtime/arch/registry.h"

#include <utility>

namespace greenroom::runtime {

std::unique_ptr<Engine> Engine::load(const std::string& path, const EngineOptions& options) {
    quant::Gguf file = quant::Gguf::open(path);
    if (file.tensors().empty())
        fail(ErrorKind::bad_input,
             "{}: holds no tensors: a vocabulary, not a model. `tokenize` and `inspect` work on it", path);
    return std::unique_ptr<Engine>(new Engine(std::move(file), options));
}

Engine::Engine(quant::Gguf file, const EngineOptions& options)
    : file_(std::move(file)),
      spec_(read_model_spec(file_)),
      weights_(bind_weights(file_, spec_)),
      tokenizer_(text::Tokenizer::load(file_)),
      threads_(std::make_unique<cpu::ThreadTeam>(options.n_threads)) {
    cpu::kernels();  // an impossible GREENROOM_ISA is an error here, not in the middle of an answer
    if (options.progress) options.progress("mapping", 1, 1);
}

Engine::~Engine() = default;

int Engine::n_threads() const noexcept { return threads_->size(); }

}  // namespace greenroom::runtime
