#pragma once

// ForwardDump: writes what passes through a forward pass as .npy files, to be compared with a reference.

#include "runtime/model_spec.h"
#include "runtime/observer.h"
#include "tools/npy_writer.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace greenroom::tools {

struct ForwardDumpOptions {
    std::string hidden_folder;  // gets hidden.npy [L+1, T, H]; empty: not written
    // Gets router_layers.npy [M], router_ids.npy and router_weights.npy [M, T, K], a token's experts by
    // falling weight.
    std::string router_folder;
};

class ForwardDump : public runtime::ForwardObserver {
  public:
    // For one timeline of n_tokens tokens from position 0 on. Makes the folders. Error{io}.
    ForwardDump(const ForwardDumpOptions& options, const runtime::ModelSpec& spec, std::int64_t n_tokens);

    // Whether any folder was named: without one there is nothing to observe.
    bool is_wanted() const noexcept { return hidden_ || !router_folder_.empty(); }

    void on_hidden(int layer, std::int64_t first_position, ConstMatrixView hidden) override;
    void on_router(const runtime::RouterChoice& choice) override;

    // All positions were seen: the files get their names. Error{io}.
    void commit();

  private:
    struct Choice {
        std::int32_t expert;
        float weight;
    };

    void write_routing() const;

    std::string router_folder_;
    std::int64_t n_tokens_;
    std::optional<NpyWriter<float>> hidden_;
    // By layer: [n_tokens, top_k]. Small beside the hidden states, so it is kept until the end.
    std::map<int, std::vector<Choice>> routing_;
    std::int64_t top_k_ = 0;
};

}  // namespace greenroom::tools
