#pragma once

// ResidentWeights: what every token needs (all weights but the routed experts) of the layers that the CPU
// runs, copied from the files into memory of our own, where nothing evicts it and nothing that happens to the
// files concerns it; and the routers of the next few layers, which are asked ahead of time.

#include "cache/arena.h"
#include "cache/ssd_reader.h"
#include "quant/base/log.h"
#include "quant/gguf.h"
#include "runtime/layer_range.h"
#include "runtime/weights.h"

#include <cstdint>
#include <memory>
#include <vector>

namespace greenroom::runtime {

class ResidentWeights {
  public:
    // Plans only. layers: from layer 0 on, or none. alignment: the reader's. weights: as bind_weights() has
    // left them.
    ResidentWeights(const quant::Gguf& gguf, Weights& weights, LayerRange layers, std::int64_t alignment);

    std::int64_t bytes() const noexcept { return bytes_; }  // of memory

    // Reserves the memory, fills it at the reader's full speed, and points the views of the weights there.
    // Errors are those of the reader and of Arena.
    void load(cache::SsdReader& reader, Weights& weights, const ProgressFn& progress);

  private:
    // Consecutive bytes of a file with the tensors in them, and where they go.
    struct Extent {
        cache::ByteRange range;
        std::int64_t offset = 0;            // in memory
        const std::byte* mapped = nullptr;  // the first byte's place in the mapped file
    };

    template <class Visit>
    void for_each_view(Weights& weights, const Visit& visit) const;
    const Extent& extent_of(const std::byte* mapped) const;

    LayerRange layers_;
    std::int64_t alignment_;
    std::vector<Extent> extents_;  // by address in the mapping
    std::int64_t bytes_ = 0;
    std::unique_ptr<cache::Arena> arena_;
};

}  // namespace greenroom::runtime
