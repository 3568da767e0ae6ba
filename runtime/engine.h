#pragma once

// Engine: a loaded model, ready to answer. Holds the mapped file, what it means (ModelSpec, Weights), the
// tokenizer and the threads. Sessions are made from it and must not outlive it.
//
// Threads: everything const may be called by any thread; sessions of one engine share its threads, so only
// one of them may evaluate at a time.

#include "quant/base/log.h"
#include "quant/gguf.h"
#include "runtime/model_spec.h"
#include "runtime/text/tokenizer.h"
#include "runtime/weights.h"

#include <memory>
#include <string>

namespace greenroom::cpu {
class ThreadTeam;
}

namespace greenroom::runtime {

struct EngineOptions {
    int n_threads = 0;    // 0: one per physical core that the process may use
    ProgressFn progress;  // called while loading; may be empty
};

class Engine {
  public:
    // Opens the file (or the first part of a split model), checks it against its architecture and maps the
    // weights. Error{bad_input} for a broken file, {unsupported} for an architecture or tokenizer that is not
    // known, {io}.
    static std::unique_ptr<Engine> load(const std::string& path, const EngineOptions& options = {});

    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    const quant::Gguf& file() const noexcept { return file_; }
    const ModelSpec& spec() const noexcept { return spec_; }
    const Weights& weights() const noexcept { return weights_; }
    const text::Tokenizer& tokenizer() const noexcept { return tokenizer_; }
    cpu::ThreadTeam& threads() const noexcept { return *threads_; }
    int n_threads() const noexcept;

  private:
    Engine(quant::Gguf file, const EngineOptions& options);

    quant::Gguf file_;
    ModelSpec spec_;
    Weights weights_;
    text::Tokenizer tokenizer_;
    std::unique_ptr<cpu::ThreadTeam> threads_;
};

}  // namespace greenroom::runtime
