#pragma once

// KvCache: what attention remembers of a session's tokens, a row per token and layer, reserved in full by the
// constructor. For MLA a row is the normalised latent followed by the rotated key.

#include "runtime/model_spec.h"
#include "runtime/ops_concept.h"

#include <cstdint>
#include <vector>

namespace greenroom::runtime {

// Bytes of a cache for this many tokens.
inline std::int64_t kv_cache_bytes(const ModelSpec& spec, std::int64_t context_tokens) noexcept {
    std::int64_t values = 0;
    for (const LayerSpec& layer : spec.layers) values += kv_row_values(layer.attention);
    return values * context_tokens * static_cast<std::int64_t>(sizeof(float));
}

template <Ops T>
class KvCache {
  public:
    KvCache(const ModelSpec& spec, std::int64_t context_tokens, T& ops) : context_tokens_(context_tokens) {
        for (const LayerSpec& layer : spec.layers) {
            row_values_.push_back(kv_row_values(layer.attention));
            layers_.push_back(ops.allocate(row_values_.back() * context_tokens));
        }
    }

    std::int64_t context_tokens() const noexcept { return context_tokens_; }

    // [context_tokens, row values] of one layer.
    MatrixView layer(int i) const noexcept {
        const auto index = static_cast<std::size_t>(i);
        return {layers_[index].data(), context_tokens_, row_values_[index], row_values_[index]};
    }

  private:
    std::int64_t context_tokens_;
    std::vector<std::int64_t> row_values_;
    std::vector<typename T::Buffer> layers_;
};

}  // namespace greenroom::runtime
