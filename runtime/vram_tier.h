#pragma once

// VramTier: the routed experts that have a slot in VRAM. An expert that a router has called and that is not
// there is computed by the CPU; if it is worth more than one that is there, it is copied into VRAM meanwhile.
//
// Who is there changes between batches only: begin_batch() takes in what has been copied, lets others go for
// what is worth more, and publishes the table of slots that the GPU looks at. Each expert in VRAM is held in
// RAM only while it is being copied.
//
// How many misses of a batch are copied is a share of them (runtime/admission.h): what the link can have of
// the host's memory without making the CPU later. They are used from the next batch on. To compute them in
// this one instead of on the CPU would put the copy on the token's path, for a layer waits for its last
// expert.
//
// One per engine, shared by its sessions; whoever evaluates holds the engine's lock. Nothing is allocated
// after construction.

#include "cache/expert_cache.h"
#include "gpu/memory.h"
#include "gpu/stream.h"
#include "runtime/device_mover.h"
#include "runtime/layer_range.h"
#include "runtime/pinned_experts.h"
#include "runtime/ram_tier.h"
#include "runtime/vram_counters.h"
#include "runtime/weights.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace greenroom::runtime {

class VramTier {
  public:
    // budget_bytes: what it may take from the budget; with too little for a slot of each size no expert ever
    // is in VRAM. upload_share: of misses. without_slots: layers (in rising order) whose experts get none.
    // ram, pinned and budget must outlive it. Error{out_of_memory}.
    VramTier(RamTier& ram, PinnedExperts& pinned, const Weights& weights, gpu::DeviceBudget& budget,
             std::int64_t budget_bytes, double upload_share, std::span<const int> without_slots = {});

    // Whether there would be any slots.
    static bool has_room(const RamTier& ram, const Weights& weights, std::int64_t budget_bytes,
                         std::span<const int> without_slots = {});
    // With room for all experts, but for those that get no slots.
    static std::int64_t most_bytes(const ExpertLayouts& layouts, const Weights& weights,
                                   std::span<const int> without_slots = {});
    // Copies under way, and what it pins for itself.
    static constexpr std::int64_t kMostUploads = 256;
    static std::int64_t pinned_bytes(const ExpertLayouts& layouts) noexcept;

    int ordinal(int layer) const { return ram_.layouts().ordinal(layer); }
    // Is it the first MoE layer of these?
    bool is_first(int ordinal, LayerRange layers) const {
        return ordinal == 0 || ram_.layouts().layer(ordinal - 1) < layers.first;
    }

    // The layer's experts' slots, nullptr where an expert has none, in device memory; and what a slot holds.
    std::span<const std::byte* const> slots(int ordinal) const noexcept;
    const VramSlotLayout& slot_layout(int ordinal) const {
        return layouts_[static_cast<std::size_t>(ordinal)];
    }

    // nullptr: it has none. In device memory; the same until the next batch.
    const std::byte* slot(cache::ExpertId id) const {
        return is_resident(id) ? cache_->part(in_cache(id), 0) : nullptr;
    }

    // Before a batch of n tokens goes through the layers on this stream. streamed: all experts come to VRAM
    // (LayerStreamer), so that none is missed.
    enum class Way { split, streamed };
    void begin_batch(gpu::Stream& stream, std::int64_t n_tokens, Way way = Way::split);
    // What a layer's router has chosen for the batch: top_k of each token.
    void on_calls(int ordinal, std::span<const std::int32_t> experts, std::span<const float> factors,
                  int top_k);
    // How the GPU has split a layer's calls, and the bytes that went between the two for them.
    void count_calls(std::int64_t n_gpu_calls, std::int64_t n_cpu_calls, std::int64_t n_bytes) noexcept {
        counters_.n_gpu_calls += n_gpu_calls;
        counters_.n_cpu_calls += n_cpu_calls;
        counters_.n_bytes_between += n_bytes;
    }
    // In a batch that is streamed: one more, and an expert's copy.
    void count_streamed_batch() noexcept { ++counters_.n_batches_streamed; }
    void count_streamed(std::int64_t n_bytes) noexcept { counters_.n_bytes_streamed += n_bytes; }
    // After what the stream has been given of a layer: until that is done its slots are in use.
    void record_use(gpu::Stream& stream) { stream.record(last_use_); }

    std::int64_t bytes() const noexcept { return memory_.bytes(); }  // of slots
    std::int64_t n_slots() const noexcept { return n_slots_; }
    bool is_resident(cache::ExpertId id) const {
        return cache_ != nullptr && has_slots(id.layer) && cache_->is_resident(in_cache(id));
    }
    std::int64_t n_resident() const noexcept { return cache_ == nullptr ? 0 : cache_->n_resident(); }
    const VramCounters& counters() const noexcept { return counters_; }

  private:
    bool take_in();
    bool admit_wanted();
    bool admit(cache::ExpertId id);
    double best_score(std::int32_t layer);
    bool has_slots(int ordinal) const { return places_[static_cast<std::size_t>(ordinal)] >= 0; }
    // The cache counts the layers that have slots.
    cache::ExpertId in_cache(cache::ExpertId id) const {
        return {places_[static_cast<std::size_t>(id.layer)], id.index};
    }
    cache::ExpertId in_ram(cache::ExpertId id) const {
        return {ordinals_[static_cast<std::size_t>(id.layer)], id.index};
    }
    void publish(gpu::Stream& stream);

    RamTier& ram_;
    std::vector<VramSlotLayout> layouts_;  // by ordinal
    std::vector<std::int32_t> ordinals_;   // of the layers whose experts have slots
    std::vector<std::int32_t> places_;     // by ordinal: where it is in ordinals_; -1: no slots
    std::int64_t n_slots_ = 0;
    gpu::DeviceBuffer memory_;  // the slots
    gpu::DeviceBuffer table_;   // a pointer by ordinal and expert
    gpu::PinnedBuffer next_table_;
    gpu::Event last_use_;
    gpu::Event published_;
    std::unique_ptr<cache::Policy> policy_;
    std::unique_ptr<DeviceMover> mover_;
    std::unique_ptr<cache::ExpertCache> cache_;  // nullptr: no slots

    double upload_share_;
    int max_uploads_ = 0;
    bool is_published_ = false;
    Way way_ = Way::split;
    VramCounters counters_;
    std::int64_t batch_ = 0;       // its number, from 1 on
    std::int64_t first_step_ = 0;  // of the batch's tokens
    std::int64_t n_steps_ = 0;
    std::vector<std::int64_t> called_in_;  // by ordinal and expert: the last batch that called it
    std::vector<cache::ExpertId> wanted_;  // what the batch has called and is not there, as the cache counts
    std::int64_t n_missed_ = 0;            // experts that the CPU has computed for it
    // Of a layer as the cache counts, and the batch at whose beginning it was looked up.
    struct Best {
        std::int64_t batch = 0;
        double score = 0;
    };
    std::vector<Best> best_;
    std::vector<cache::ExpertId> arrived_;
};

}  // namespace greenroom::runtime
