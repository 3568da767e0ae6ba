#include "cache/expert_cache.h"

#include "quant/base/error.h"

#include <algorithm>
#include <utility>

namespace greenroom::cache {

double CacheCounters::hit_rate() const noexcept {
    return n_demanded() == 0 ? 0.0 : static_cast<double>(n_hits) / static_cast<double>(n_demanded());
}

CacheCounters& CacheCounters::operator+=(const CacheCounters& other) noexcept {
    n_hits += other.n_hits;
    n_late += other.n_late;
    n_misses += other.n_misses;
    n_filled += other.n_filled;
    n_prefetched += other.n_prefetched;
    n_useful += other.n_useful;
    n_wasted += other.n_wasted;
    n_bytes_read += other.n_bytes_read;
    n_failed += other.n_failed;
    stall_us += other.stall_us;
    return *this;
}

CacheCounters& CacheCounters::operator-=(const CacheCounters& other) noexcept {
    n_hits -= other.n_hits;
    n_late -= other.n_late;
    n_misses -= other.n_misses;
    n_filled -= other.n_filled;
    n_prefetched -= other.n_prefetched;
    n_useful -= other.n_useful;
    n_wasted -= other.n_wasted;
    n_bytes_read -= other.n_bytes_read;
    n_failed -= other.n_failed;
    stall_us -= other.stall_us;
    return *this;
}

ExpertCache::ExpertCache(Policy& policy, Mover& mover, std::byte* memory, const SlotPlan& plan,
                         std::span<const SlotLayout> experts)
    : policy_(policy),
      mover_(mover),
      memory_(memory),
      plan_(plan),
      layouts_(experts.begin(), experts.end()),
      entries_(experts.size()),
      counters_(static_cast<std::size_t>(policy.shape().n_layers)),
      n_ahead_in_(static_cast<std::size_t>(policy.shape().n_layers)) {
    const CacheShape& shape = policy.shape();
    GR_CHECK(static_cast<std::int64_t>(experts.size()) == std::int64_t{shape.n_layers} * shape.n_experts);
    GR_CHECK(shape.n_slots == plan.n_kept());
    for (std::size_t i = 0; i < layouts_.size(); ++i) {
        if (layouts_[i].parts().empty()) continue;
        const int slot_class = plan_.class_of_layer(id_of(i).layer);
        GR_CHECK(layouts_[i].slot_bytes() <=
                 plan_.classes()[static_cast<std::size_t>(slot_class)].slot_bytes);
        entries_[i].slot_class = static_cast<std::int16_t>(slot_class);
    }
    std::int64_t n_slots = 0;
    for (const SlotClass& c : plan_.classes()) {
        // The last in is the first out: slots are used from the beginning of the arena.
        std::vector<std::int64_t>& free = free_slots_.emplace_back();
        for (std::int64_t slot = c.n_slots(); slot > 0; --slot) free.push_back(slot - 1);
        n_slots += c.n_slots();
    }
    completions_.resize(static_cast<std::size_t>(n_slots) + 1);
}

std::size_t ExpertCache::index_of(ExpertId id) const noexcept {
    return static_cast<std::size_t>(std::int64_t{id.layer} * policy_.shape().n_experts + id.index);
}

ExpertId ExpertCache::id_of(std::size_t index) const noexcept {
    const auto n_experts = static_cast<std::size_t>(policy_.shape().n_experts);
    return {static_cast<std::int32_t>(index / n_experts), static_cast<std::int32_t>(index % n_experts)};
}

Demand ExpertCache::demand(ExpertId id) {
    Entry& e = entry(id);
    GR_CHECK(!e.is_demanded && e.slot_class >= 0);
    CacheCounters& counters = counters_of(id);
    const State found = e.state;
    if (found == State::absent && !(make_room(id) && begin_read(id, Priority::demanded)))
        return Demand::no_slot;
    e.is_demanded = true;
    policy_.pin(id);
    if (std::exchange(e.is_prefetched, false)) ++counters.n_useful;
    switch (found) {
        case State::resident:
            ++counters.n_hits;
            return Demand::hit;
        case State::reading:
            mover_.promote(e.ticket);
            count_ahead(id.layer, -1);
            ++counters.n_late;
            return Demand::reading;
        case State::absent:
            break;
    }
    ++counters.n_misses;
    return Demand::reading;
}

void ExpertCache::release(ExpertId id) {
    Entry& e = entry(id);
    GR_CHECK(e.is_demanded);
    e.is_demanded = false;
    if (e.state == State::reading) count_ahead(id.layer, 1);
    policy_.unpin(id);
}

void ExpertCache::release_all(int layer) {
    for (std::int32_t i = 0; i < policy_.shape().n_experts; ++i)
        if (entry({layer, i}).is_demanded) release({layer, i});
}

void ExpertCache::settle(int layer) {
    const bool all_compete = policy_.scope() == Scope::global;
    // What is being read ahead may be cancelled, or be demanded next: it is not this time's excess.
    const std::int64_t n_ahead = all_compete ? n_ahead_ : n_ahead_in_[static_cast<std::size_t>(layer)];
    for (std::int64_t excess = policy_.n_over(layer) - n_ahead; excess > 0; --excess) {
        const std::optional<ExpertId> victim = policy_.victim(layer);
        if (!victim) return;
        evict(*victim);
    }
}

bool ExpertCache::prefetch(ExpertId id) {
    if (!has_slot_to_spare(id) || !begin_read(id, Priority::prefetch)) return false;
    count_ahead(id.layer, 1);
    entry(id).is_prefetched = true;
    ++counters_of(id).n_prefetched;
    return true;
}

bool ExpertCache::fill(ExpertId id) {
    if (!policy_.has_room(id.layer) || !has_slot_to_spare(id) || !begin_read(id, Priority::prefetch))
        return false;
    count_ahead(id.layer, 1);
    ++counters_of(id).n_filled;
    return true;
}

void ExpertCache::cancel_prefetches(int layer) noexcept {
    if (n_ahead_in_[static_cast<std::size_t>(layer)] == 0) return;
    for (std::int32_t i = 0; i < policy_.shape().n_experts; ++i) {
        const Entry& e = entry({layer, i});
        if (e.state == State::reading && e.is_prefetched) mover_.cancel(e.ticket);
    }
}

// Whether the expert can be read ahead, with enough slots left for what a token may demand at once.
bool ExpertCache::has_slot_to_spare(ExpertId id) const {
    if (!is_absent(id)) return false;
    const auto slot_class = static_cast<std::size_t>(entry(id).slot_class);
    const std::int64_t reserved =
        std::min<std::int64_t>(policy_.shape().top_k, plan_.classes()[slot_class].n_spare);
    return static_cast<std::int64_t>(free_slots_[slot_class].size()) > reserved;
}

// Sees to it that there is a free slot for the expert.
bool ExpertCache::make_room(ExpertId id) {
    if (!free_slots_for(id).empty()) return true;
    const std::optional<ExpertId> victim = victim_for(id);
    if (!victim) return false;
    evict(*victim);
    return true;
}

// Who may go for the expert when all slots are taken: one of its own layer, or what another layer has beyond
// its quota. There is such a one unless all of them are pinned, since the spare slots belong to no quota.
std::optional<ExpertId> ExpertCache::victim_for(ExpertId id) {
    if (policy_.scope() == Scope::global || policy_.n_over(id.layer) >= 0)
        if (const std::optional<ExpertId> victim = policy_.victim(id.layer)) return victim;
    if (policy_.scope() == Scope::global) return std::nullopt;
    const int slot_class = plan_.class_of_layer(id.layer);
    for (int layer = 0; layer < policy_.shape().n_layers; ++layer)
        if (plan_.class_of_layer(layer) == slot_class && policy_.n_over(layer) > 0)
            if (const std::optional<ExpertId> victim = policy_.victim(layer)) return victim;
    return std::nullopt;
}

// Into a free slot. False when the mover's queue is full.
bool ExpertCache::begin_read(ExpertId id, Priority priority) {
    Entry& e = entry(id);
    std::vector<std::int64_t>& free = free_slots_for(id);
    GR_CHECK(!free.empty());
    const SlotLayout& layout = layouts_[index_of(id)];
    const auto copies = layout.copies_to(memory_ + plan_.slot_offset(e.slot_class, free.back()));
    const std::optional<Ticket> ticket =
        mover_.start({.copies = std::span(copies).first(layout.parts().size()),
                      .priority = priority,
                      .tag = index_of(id)});
    if (!ticket) return false;
    e.ticket = *ticket;
    e.slot = free.back();
    free.pop_back();
    e.state = State::reading;
    ++n_reading_;
    policy_.on_load(id);
    policy_.pin(id);  // what is being written to cannot be given to another
    return true;
}

void ExpertCache::count_ahead(int layer, int n) noexcept {
    n_ahead_ += n;
    n_ahead_in_[static_cast<std::size_t>(layer)] += n;
}

// Undoes begin_read(): the read is over and its slot holds nothing of use.
void ExpertCache::give_back(ExpertId id) noexcept {
    Entry& e = entry(id);
    policy_.unpin(id);
    --n_reading_;
    if (std::exchange(e.is_demanded, false))
        policy_.unpin(id);
    else
        count_ahead(id.layer, -1);
    if (std::exchange(e.is_prefetched, false)) ++counters_of(id).n_wasted;
    policy_.on_evict(id);
    free_slots_[static_cast<std::size_t>(e.slot_class)].push_back(e.slot);
    e.slot = -1;
    e.state = State::absent;
}

void ExpertCache::evict(ExpertId id) {
    Entry& e = entry(id);
    GR_CHECK(e.state == State::resident && !e.is_demanded);
    if (std::exchange(e.is_prefetched, false)) ++counters_of(id).n_wasted;
    policy_.on_evict(id);
    free_slots_[static_cast<std::size_t>(e.slot_class)].push_back(e.slot);
    e.slot = -1;
    e.state = State::absent;
    --n_resident_;
}

std::size_t ExpertCache::take_in(std::span<ExpertId> arrived, std::chrono::microseconds timeout) {
    if (n_reading_ == 0) return 0;
    std::size_t n_arrived = 0;
    std::optional<Error> failure;
    const std::span<Completion> room =
        std::span(completions_).first(std::min(completions_.size(), arrived.size()));
    std::size_t n = 0;
    if (timeout.count() > 0) {
        const auto begin = std::chrono::steady_clock::now();
        n = mover_.wait(room, timeout);
        const auto waited = std::chrono::steady_clock::now() - begin;
        const auto us = std::chrono::duration_cast<std::chrono::microseconds>(waited).count();
        if (n > 0) counters_of(id_of(room[0].tag)).stall_us += us;
    } else {
        n = mover_.poll(room);
    }
    for (Completion& completion : room.first(n)) {
        const ExpertId id = id_of(completion.tag);
        Entry& e = entry(id);
        GR_CHECK(e.state == State::reading && e.ticket == completion.ticket);
        if (completion.outcome == Outcome::done) {
            policy_.unpin(id);
            --n_reading_;
            ++n_resident_;
            e.state = State::resident;
            for (const SlotPart& part : layouts_[completion.tag].parts())
                counters_of(id).n_bytes_read += part.range.bytes;
            if (e.is_demanded)
                arrived[n_arrived++] = id;
            else
                count_ahead(id.layer, -1);
            continue;
        }
        const bool was_demanded = e.is_demanded;
        give_back(id);
        if (completion.outcome == Outcome::cancelled) {
            // Cancelled as a prefetch, and demanded before the cancellation was through.
            if (was_demanded && demand(id) == Demand::no_slot)
                failure = Error(ErrorKind::internal, "the slot of a cancelled prefetch is gone");
            continue;
        }
        ++counters_of(id).n_failed;
        if (was_demanded && !failure) failure = std::move(completion.error);
    }
    if (failure) throw Error(*failure);
    return n_arrived;
}

const std::byte* ExpertCache::part(ExpertId id, std::size_t part) const {
    const Entry& e = entry(id);
    GR_CHECK(e.state == State::resident);
    return memory_ + plan_.slot_offset(e.slot_class, e.slot) +
           layouts_[index_of(id)].parts()[part].slot_offset;
}

CacheCounters ExpertCache::total() const noexcept {
    CacheCounters sum;
    for (const CacheCounters& counters : counters_) sum += counters;
    return sum;
}

}  // namespace greenroom::cache
