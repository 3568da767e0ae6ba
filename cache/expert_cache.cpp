#include "cache/expert_cache.h"

#include "quant/base/error.h"

#include <utility>

namespace greenroom::cache {

CacheCounters& CacheCounters::operator+=(const CacheCounters& other) noexcept {
    n_hits += other.n_hits;
    n_late += other.n_late;
    n_misses += other.n_misses;
    n_prefetched += other.n_prefetched;
    n_useful += other.n_useful;
    n_wasted += other.n_wasted;
    n_bytes_read += other.n_bytes_read;
    n_failed += other.n_failed;
    stall_us += other.stall_us;
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
      counters_(static_cast<std::size_t>(policy.shape().n_layers)) {
    const CacheShape& shape = policy.shape();
    GR_CHECK(static_cast<std::int64_t>(experts.size()) == std::int64_t{shape.n_layers} * shape.n_experts);
    for (std::size_t i = 0; i < layouts_.size(); ++i)
        if (!layouts_[i].parts().empty())
            entries_[i].slot_class = static_cast<std::int8_t>(plan_.class_of(layouts_[i].slot_bytes()));
    std::int64_t n_slots = 0;
    for (const SlotClass& c : plan_.classes()) {
        // The last in is the first out: slots are used from the beginning of the arena.
        std::vector<std::int64_t>& free = free_slots_.emplace_back();
        for (std::int64_t slot = c.n_slots; slot > 0; --slot) free.push_back(slot - 1);
        n_slots += c.n_slots;
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
    if (e.state == State::absent && !begin_read(id, Priority::demanded, nullptr)) return Demand::no_slot;
    e.is_demanded = true;
    policy_.pin(id);
    const bool was_prefetched = std::exchange(e.is_prefetched, false);
    if (was_prefetched) ++counters.n_useful;
    if (e.state == State::resident) {
        ++counters.n_hits;
        return Demand::hit;
    }
    if (was_prefetched) {
        mover_.promote(e.ticket);
        ++counters.n_late;
    } else {
        ++counters.n_misses;
    }
    return Demand::reading;
}

void ExpertCache::release(ExpertId id) {
    Entry& e = entry(id);
    GR_CHECK(e.is_demanded);
    e.is_demanded = false;
    policy_.unpin(id);
}

bool ExpertCache::prefetch(ExpertId id) {
    Entry& e = entry(id);
    if (e.state != State::absent || e.slot_class < 0) return false;
    const double worth = policy_.score(id);
    if (!begin_read(id, Priority::prefetch, &worth)) return false;
    e.is_prefetched = true;
    ++counters_of(id).n_prefetched;
    return true;
}

void ExpertCache::cancel_prefetches(int layer) noexcept {
    if (n_reading_ == 0) return;
    for (int i = 0; i < policy_.shape().n_experts; ++i) {
        const Entry& e = entry({layer, i});
        if (e.state == State::reading && e.is_prefetched) mover_.cancel(e.ticket);
    }
}

// Gives the expert a slot, making room if need be. worth: if given, only an expert of which the policy thinks
// no more than that may have to go for it.
bool ExpertCache::take_slot(ExpertId id, const double* worth) {
    Entry& e = entry(id);
    std::vector<std::int64_t>& free = free_slots_[static_cast<std::size_t>(e.slot_class)];
    if (!policy_.has_room(id.layer)) {
        const std::optional<ExpertId> victim = policy_.victim(id.layer);
        if (!victim || (worth != nullptr && policy_.score(*victim) > *worth)) return false;
        GR_CHECK(entry(*victim).slot_class == e.slot_class);
        evict(*victim);
    }
    GR_CHECK(!free.empty());
    e.slot = free.back();
    free.pop_back();
    return true;
}

bool ExpertCache::begin_read(ExpertId id, Priority priority, const double* worth) {
    if (!take_slot(id, worth)) return false;
    Entry& e = entry(id);
    policy_.on_load(id);
    // What is being written to cannot be given to another.
    policy_.pin(id);
    e.state = State::reading;
    ++n_reading_;
    const SlotLayout& layout = layouts_[index_of(id)];
    const auto copies = layout.copies_to(memory_ + plan_.slot_offset(e.slot_class, e.slot));
    std::optional<Ticket> ticket;
    try {
        ticket = mover_.start({.copies = std::span(copies).first(layout.parts().size()),
                               .priority = priority,
                               .tag = index_of(id)});
    } catch (...) {
        give_back(id);
        throw;
    }
    if (!ticket) {  // the mover's queue is full
        give_back(id);
        return false;
    }
    e.ticket = *ticket;
    return true;
}

// Undoes begin_read(): the read is over and its slot holds nothing of use.
void ExpertCache::give_back(ExpertId id) noexcept {
    Entry& e = entry(id);
    policy_.unpin(id);
    --n_reading_;
    if (std::exchange(e.is_demanded, false)) policy_.unpin(id);
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
            if (e.is_demanded) arrived[n_arrived++] = id;
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
