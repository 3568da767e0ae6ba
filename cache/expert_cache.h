#pragma once

// ExpertCache: the routed experts that are in RAM, and those on their way there. It owns the slots: asks the
// Policy who goes, the Mover to read, and says when an expert's bytes are all there.
//
// For a layer the scheduler demands what the router called, computes what is_resident(), waits for the rest,
// and releases each expert when it is done with it:
//
//     cache.on_request(request);
//     for (id : called) cache.demand(id);            // hits are pinned, misses are being read
//     while (something is left) { compute residents; cache.take_in(arrived, timeout); }
//     cache.settle(layer); cache.release_all(layer); cache.settle(layer);
//
// An expert that is demanded stays where it is until it is released. What is read goes to a spare slot if
// there is one (SlotPlan), so that it need not be decided yet who goes for it; settle() decides, when the
// layer is done, and makes the slots spare again. A demand that finds every slot in use is refused; release
// some and demand again. Experts are read ahead into spare slots only: who is there is worth more than a
// guess. Reads ahead wait for every demanded read and can be cancelled.
//
// One thread at a time. Nothing is allocated after construction, but for the message of a failed read.
// policy, mover and memory must outlive it; the mover's completions are all ours. Destroy the mover first
// where reads may still be under way.

#include "cache/expert_id.h"
#include "cache/mover.h"
#include "cache/policy.h"
#include "cache/slot_layout.h"
#include "cache/slot_plan.h"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace greenroom::cache {

// Counted from the beginning; all are cheap and always on.
struct CacheCounters {
    std::int64_t n_hits = 0;        // demanded, and there
    std::int64_t n_late = 0;        // demanded while it was being read ahead
    std::int64_t n_misses = 0;      // demanded, and neither
    std::int64_t n_filled = 0;      // slots that nobody had used, filled before anyone asked
    std::int64_t n_prefetched = 0;  // prefetches begun
    std::int64_t n_useful = 0;      // of these, demanded before they were evicted
    std::int64_t n_wasted = 0;      // of these, cancelled, failed or evicted without having been demanded
    std::int64_t n_bytes_read = 0;  // of reads that are complete
    std::int64_t n_failed = 0;      // reads
    std::int64_t stall_us = 0;      // spent in wait()

    std::int64_t n_demanded() const noexcept { return n_hits + n_late + n_misses; }
    // Of what was demanded; 0 where nothing was.
    double hit_rate() const noexcept;

    CacheCounters& operator+=(const CacheCounters& other) noexcept;
    CacheCounters& operator-=(const CacheCounters& other) noexcept;
};

enum class Demand {
    hit,      // resident
    reading,  // on its way
    no_slot,  // every slot that could hold it is in use
};

class ExpertCache {
  public:
    // experts: a layout for each expert of the policy's shape, by layer and index; one without parts is an
    // expert that the layer does not have. memory: plan.total_bytes(), at a multiple of the mover's
    // alignment. plan: made for these layouts and the policy's scope; the policy has plan.n_kept() slots.
    ExpertCache(Policy& policy, Mover& mover, std::byte* memory, const SlotPlan& plan,
                std::span<const SlotLayout> experts);

    // Tells the policy, before the request's experts are demanded.
    void on_request(const Request& request) { policy_.on_request(request); }
    void on_prediction(const Prediction& prediction) { policy_.on_prediction(prediction); }

    // Wants an expert now. Not refused, it is pinned until release(). At most once before that.
    Demand demand(ExpertId id);
    bool is_demanded(ExpertId id) const { return entry(id).is_demanded; }
    void release(ExpertId id);
    void release_all(int layer);

    // The layer is done for now: gives back the slots that it uses beyond its quota, those of the experts
    // that the policy values least. Not those of experts that are pinned or still being read.
    void settle(int layer);

    // Begins to read an expert that is neither there nor on its way, if there are spare slots that no demand
    // of a token will need. False when nothing was begun.
    bool prefetch(ExpertId id);

    // The same to fill the layer's quota, as long as it is not full.
    bool fill(ExpertId id);

    // Gives up the prefetches of a layer that have not been demanded: its turn is over.
    void cancel_prefetches(int layer) noexcept;

    // Takes in what has been read, waiting for at least one read to end if `timeout` is above zero and any is
    // under way. Writes the demanded experts that have become resident to `arrived`, and returns their
    // number. Error: that of a demanded read that failed, once all others that had ended are taken in; the
    // expert is absent again and no longer pinned.
    std::size_t take_in(std::span<ExpertId> arrived, std::chrono::microseconds timeout);

    bool is_resident(ExpertId id) const { return entry(id).state == State::resident; }
    // The bytes of part `part` (see SlotLayout) of an expert that is resident.
    const std::byte* part(ExpertId id, std::size_t part) const;

    // Neither there nor on its way, though the layer has it.
    bool is_absent(ExpertId id) const {
        return entry(id).state == State::absent && entry(id).slot_class >= 0;
    }
    std::int64_t n_resident() const noexcept { return n_resident_; }
    std::int64_t n_reading() const noexcept { return n_reading_; }
    std::int64_t n_ahead() const noexcept { return n_ahead_; }  // of them, not demanded
    // For hits that the caller need not demand, because all experts are resident.
    void count_hits(int layer, std::int64_t n) noexcept {
        counters_[static_cast<std::size_t>(layer)].n_hits += n;
    }
    const CacheCounters& counters(int layer) const { return counters_[static_cast<std::size_t>(layer)]; }
    CacheCounters total() const noexcept;

  private:
    enum class State : std::uint8_t { absent, reading, resident };

    struct Entry {
        State state = State::absent;
        bool is_demanded = false;
        bool is_prefetched = false;  // read ahead, and not demanded since
        std::int16_t slot_class = -1;
        std::int64_t slot = -1;
        Ticket ticket{};
    };

    std::size_t index_of(ExpertId id) const noexcept;
    ExpertId id_of(std::size_t index) const noexcept;
    Entry& entry(ExpertId id) { return entries_[index_of(id)]; }
    const Entry& entry(ExpertId id) const { return entries_[index_of(id)]; }
    CacheCounters& counters_of(ExpertId id) { return counters_[static_cast<std::size_t>(id.layer)]; }

    std::vector<std::int64_t>& free_slots_for(ExpertId id) {
        return free_slots_[static_cast<std::size_t>(entry(id).slot_class)];
    }
    bool has_slot_to_spare(ExpertId id) const;
    bool make_room(ExpertId id);
    std::optional<ExpertId> victim_for(ExpertId id);
    bool begin_read(ExpertId id, Priority priority);
    void count_ahead(int layer, int n) noexcept;
    void give_back(ExpertId id) noexcept;
    void evict(ExpertId id);

    Policy& policy_;
    Mover& mover_;
    std::byte* memory_;
    const SlotPlan plan_;
    std::vector<SlotLayout> layouts_;
    std::vector<Entry> entries_;                         // by layer and index, as layouts_
    std::vector<std::vector<std::int64_t>> free_slots_;  // by class
    std::vector<CacheCounters> counters_;                // by layer
    std::vector<std::int64_t> n_ahead_in_;               // by layer
    std::vector<Completion> completions_;
    std::int64_t n_resident_ = 0;
    std::int64_t n_reading_ = 0;
    std::int64_t n_ahead_ = 0;
};

}  // namespace greenroom::cache
