#pragma once

// LayerStreamer: takes a batch of many tokens through the layers with all experts in VRAM. While a layer is
// computed, the experts of the next one that have no slot of their own are copied from RAM into one of two
// areas, by a stream of its own; those that have a slot are used where they are. A table in device memory
// points to both, so that every call is a hit.
//
//     streamer.begin_batch(first layer)
//     for each layer, in order:
//         while (streamer.next(…) == Next::chunk) enqueue what computes with the experts of streamer.slots()
//
// An area that has no room for all of them takes them in chunks: a layer's first one holds also what has
// slots. The first copies begin with the batch. The host waits for nothing but reads from the disk; where
// copies are pageable (PinnedExperts), for these too.
//
// Where RAM does not hold all experts, those that are there are copied first, and the others as they arrive;
// what comes after them is read ahead into slots to spare. RAM holds an expert only until it is copied.
//
// One per engine, shared by its sessions; whoever evaluates holds the engine's lock. Nothing is allocated
// after construction.

#include "gpu/memory.h"
#include "gpu/stream.h"
#include "runtime/device_mover.h"
#include "runtime/pinned_experts.h"
#include "runtime/ram_tier.h"
#include "runtime/vram_tier.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace greenroom::runtime {

// Of a model's layers, so many tokens call an expert on average.
double tokens_per_expert(const ExpertLayouts& layouts, std::int64_t n_tokens) noexcept;

class LayerStreamer {
  public:
    // What it should have of most_bytes of VRAM: two areas for the largest layer, or for a part of it; 0
    // where that is less than an eighth, and for a model whose layers have experts of different types: then
    // it cannot be made.
    static std::int64_t bytes_wanted(const ExpertLayouts& layouts, const Weights& weights,
                                     std::int64_t most_bytes);

    // bytes: as bytes_wanted() said. ram, pinned, tier and budget must outlive it. Error{out_of_memory}.
    LayerStreamer(RamTier& ram, PinnedExperts& pinned, VramTier& tier, gpu::DeviceBudget& budget,
                  std::int64_t bytes);
    // Copies of experts under way.
    static std::int64_t most_copies(const ExpertLayouts& layouts) noexcept;
    // What it pins for itself.
    static std::int64_t pinned_bytes(const ExpertLayouts& layouts) noexcept;

    // Ends what another batch may have left, and begins to copy the experts of the MoE layer `ordinal`. The
    // tier has begun the batch.
    void begin_batch(int ordinal);

    // Where it is not called for a batch that is not streamed: lets go of what an earlier one held.
    void end_batch();

    enum class Next { chunk, done, cancelled };
    // The next chunk of the layer: what the stream is given from here on finds it. What it has been given
    // since the last call is the last that uses the chunk before. done: the layer has no more, and its
    // successor's are being copied. cancelled (may be null) was found set while a read was waited for; end
    // the batch. Error: a read that failed; everything can go on with the next batch.
    Next next(int ordinal, gpu::Stream& stream, const std::atomic<bool>* cancelled);

    // Of the chunk in hand, by expert, in device memory: nullptr for those of other chunks.
    std::span<const std::byte* const> slots() const noexcept;
    // By expert, nullptr for none: the same for all layers, to add what all chunks have computed.
    std::span<const std::byte* const> all_slots() const noexcept;

    std::int64_t bytes() const noexcept { return areas_[0].memory.bytes() + areas_[1].memory.bytes(); }

  private:
    // A chunk on its way into VRAM, or there.
    struct Area {
        gpu::DeviceBuffer memory;
        gpu::DeviceBuffer table;  // a pointer by expert
        gpu::Event ready;         // both are as the chunk needs them
        gpu::Event computed;      // nobody uses them any more
        int ordinal = 0;
        bool is_last = false;               // of the layer
        std::vector<std::int32_t> experts;  // that go into it, in the order of their places
        std::vector<bool> is_begun;         // of each, to be copied
        std::size_t n_begun = 0;

        bool is_fed() const noexcept { return n_begun == experts.size(); }
    };

    Area& area(std::int64_t chunk) { return areas_[static_cast<std::size_t>(chunk % 2)]; }
    void begin_layer(int ordinal);
    void begin_chunk();
    void begin_chunks();
    void feed(Area& area);
    void read_ahead();
    bool wait_for(Area& area, const std::atomic<bool>* cancelled);
    void let_copied_go();

    RamTier& ram_;
    VramTier& tier_;
    std::int64_t area_bytes_ = 0;
    gpu::DeviceBuffer all_slots_;
    gpu::PinnedBuffer tables_;  // by ordinal, chunk and expert, so that none is written over in a batch
    // The mover's stream uses what is above.
    std::array<Area, 2> areas_;
    DeviceMover mover_;

    // Chunks are numbered through a batch: those up to n_computed_ have been computed, those up to n_made_
    // have an area; the last of them may still be fed.
    std::int64_t n_computed_ = 0;
    std::int64_t n_made_ = 0;
    bool is_open_ = false;            // a batch has begun and not ended
    bool is_computing_ = false;       // the chunk n_computed_
    bool is_reading_ = false;         // not all experts are in RAM
    int next_ordinal_ = 0;            // of the layer whose chunks are made,
    std::vector<std::int32_t> left_;  // and its experts that have no chunk yet, from n_taken_ on
    std::size_t n_taken_ = 0;
    int n_chunks_ = 0;         // of the layer that have been made
    int settling_ = -1;        // a layer that has been copied and may hold slots in RAM beyond its share
    bool is_refused_ = false;  // RAM had no slot for an expert that is called
    std::vector<cache::ExpertId> arrived_;
    std::vector<cache::Completion> copied_;
};

}  // namespace greenroom::runtime
