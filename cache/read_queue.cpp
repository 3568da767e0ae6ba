#include "cache/read_queue.h"

#include "quant/base/error.h"

#include <algorithm>
#include <utility>

namespace greenroom::cache {
namespace {

// A time point this far ahead cannot overflow.
constexpr std::chrono::microseconds kLongestWait = std::chrono::hours(24);

constexpr Ticket ticket_of(std::int32_t index, std::uint32_t generation) {
    return Ticket{std::uint64_t{generation} << 32 | static_cast<std::uint32_t>(index)};
}

// Pieces of about equal size, cut at block boundaries of the file so that no block is read twice.
std::int64_t next_piece_bytes(const ByteRange& range, std::int64_t taken, const QueueLimits& limits) {
    const std::int64_t n_pieces = (range.bytes + limits.piece_bytes - 1) / limits.piece_bytes;
    const std::int64_t even = (range.bytes + n_pieces - 1) / n_pieces;
    const std::int64_t begin = range.offset + taken;
    const std::int64_t end = (begin + even + limits.alignment - 1) / limits.alignment * limits.alignment;
    return std::min(end - begin, range.bytes - taken);
}

}  // namespace

ReadQueue::ReadQueue(const QueueLimits& limits)
    : limits_(limits), requests_(static_cast<std::size_t>(limits.max_requests)) {
    GR_CHECK(limits.max_requests > 0 && limits.prefetch_depth > 0);
    GR_CHECK(limits.alignment > 0 && limits.piece_bytes >= limits.alignment);
    for (std::int32_t i = 0; i < limits.max_requests; ++i) {
        at(i).previous = i - 1;
        at(i).next = i + 1 < limits.max_requests ? i + 1 : -1;
    }
    free_ = {0, limits.max_requests - 1};
}

std::optional<Ticket> ReadQueue::push(const CopyRequest& request) {
    GR_CHECK(!request.copies.empty() && request.copies.size() <= static_cast<std::size_t>(kMaxCopies));
    for (const Copy& copy : request.copies) GR_CHECK(copy.from.bytes > 0 && copy.to != nullptr);

    const std::lock_guard lock(mutex_);
    GR_CHECK(!stopping_);
    if (free_.empty()) return std::nullopt;
    const std::int32_t index = free_.first;
    Request& r = at(index);
    std::copy(request.copies.begin(), request.copies.end(), r.copies.begin());
    r.n_copies = static_cast<int>(request.copies.size());
    r.copy = 0;
    r.taken_bytes = 0;
    r.bytes = 0;
    for (const Copy& copy : request.copies) r.bytes += copy.from.bytes;
    r.priority = request.priority;
    r.cancelled = false;
    r.tag = request.tag;
    r.started = Clock::now();
    ++r.generation;
    move_to(index, request.priority == Priority::demanded ? Place::demanded : Place::prefetch);
    stats_.max_under_way = std::max(stats_.max_under_way, ++stats_.n_under_way);
    work_.notify_one();
    return ticket_of(index, r.generation);
}

void ReadQueue::promote(Ticket ticket) noexcept {
    const std::lock_guard lock(mutex_);
    Request* r = find(ticket);
    if (r == nullptr || r->priority == Priority::demanded) return;
    r->priority = Priority::demanded;
    if (r->place != Place::prefetch) return;
    move_to(static_cast<std::int32_t>(r - requests_.data()), Place::demanded);
    work_.notify_one();
}

void ReadQueue::cancel(Ticket ticket) noexcept {
    const std::lock_guard lock(mutex_);
    Request* r = find(ticket);
    if (r == nullptr || (r->place != Place::demanded && r->place != Place::prefetch)) return;
    r->cancelled = true;
    const auto index = static_cast<std::int32_t>(r - requests_.data());
    move_to(index, Place::in_flight);
    if (r->n_in_flight == 0) complete(index);
}

std::size_t ReadQueue::poll(std::span<Completion> completions) {
    const std::lock_guard lock(mutex_);
    return fetch_locked(completions);
}

std::size_t ReadQueue::wait(std::span<Completion> completions, std::chrono::microseconds timeout) {
    std::unique_lock lock(mutex_);
    completed_.wait_for(lock, std::min(timeout, kLongestWait),
                        [this] { return !complete_.empty() || stats_.n_under_way == 0; });
    return fetch_locked(completions);
}

ReaderStats ReadQueue::stats() const {
    const std::lock_guard lock(mutex_);
    return stats_;
}

std::optional<Piece> ReadQueue::take() {
    const std::lock_guard lock(mutex_);
    return take_locked();
}

std::optional<Piece> ReadQueue::take_or_wait() {
    std::unique_lock lock(mutex_);
    work_.wait(lock, [this] { return stopping_ || can_take(); });
    std::optional<Piece> piece = take_locked();
    if (can_take()) work_.notify_one();  // a request has more pieces than push() wakes threads
    return piece;
}

void ReadQueue::finish(const Piece& piece, std::optional<Error> error) {
    const std::lock_guard lock(mutex_);
    Request& r = at(piece.request);
    --r.n_in_flight;
    --n_in_flight_;
    if (piece.priority == Priority::prefetch) {
        --n_prefetch_in_flight_;
        if (!prefetch_.empty()) work_.notify_one();
    }
    if (error && !r.error && !r.cancelled) {
        r.error = std::move(error);
        move_to(piece.request, Place::in_flight);  // the rest is not read
    }
    if (r.n_in_flight == 0 && r.place == Place::in_flight) complete(piece.request);
}

void ReadQueue::stop() noexcept {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    work_.notify_all();
}

ReadQueue::Request* ReadQueue::find(Ticket ticket) noexcept {
    const auto value = static_cast<std::uint64_t>(ticket);
    const auto index = value & 0xffffffffU;
    if (index >= requests_.size()) return nullptr;
    Request& r = requests_[index];
    return r.place != Place::free && r.generation == value >> 32 ? &r : nullptr;
}

ReadQueue::List* ReadQueue::list_of(Place place) noexcept {
    switch (place) {
        case Place::free:
            return &free_;
        case Place::demanded:
            return &demanded_;
        case Place::prefetch:
            return &prefetch_;
        case Place::complete:
            return &complete_;
        case Place::in_flight:
            break;
    }
    return nullptr;
}

// Out of the list that it is in, to the end of another.
void ReadQueue::move_to(std::int32_t index, Place place) noexcept {
    Request& r = at(index);
    if (List* from = list_of(r.place)) {
        (r.previous >= 0 ? at(r.previous).next : from->first) = r.next;
        (r.next >= 0 ? at(r.next).previous : from->last) = r.previous;
    }
    r.place = place;
    r.previous = -1;
    r.next = -1;
    if (List* to = list_of(place)) {
        r.previous = to->last;
        (to->last >= 0 ? at(to->last).next : to->first) = index;
        to->last = index;
    }
}

bool ReadQueue::can_take() const noexcept {
    if (stopping_) return false;
    return !demanded_.empty() || (!prefetch_.empty() && n_prefetch_in_flight_ < limits_.prefetch_depth);
}

std::optional<Piece> ReadQueue::take_locked() {
    if (!can_take()) return std::nullopt;
    const std::int32_t index = demanded_.empty() ? prefetch_.first : demanded_.first;
    Request& r = at(index);
    const Copy& copy = r.copies[static_cast<std::size_t>(r.copy)];
    const std::int64_t bytes = next_piece_bytes(copy.from, r.taken_bytes, limits_);
    const Piece piece{index,
                      r.priority,
                      {copy.from.file, copy.from.offset + r.taken_bytes, bytes},
                      copy.to + r.taken_bytes};
    r.taken_bytes += bytes;
    if (r.taken_bytes == copy.from.bytes) {
        r.taken_bytes = 0;
        if (++r.copy == r.n_copies) move_to(index, Place::in_flight);
    }
    ++r.n_in_flight;
    stats_.max_in_flight = std::max<std::int64_t>(stats_.max_in_flight, ++n_in_flight_);
    if (piece.priority == Priority::prefetch) ++n_prefetch_in_flight_;
    return piece;
}

void ReadQueue::complete(std::int32_t index) {
    Request& r = at(index);
    move_to(index, Place::complete);
    r.elapsed_us = std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - r.started).count();
    --stats_.n_under_way;
    if (r.error) {
        ++stats_.n_failed;
    } else if (r.cancelled) {
        ++stats_.n_cancelled;
    } else {
        ++stats_.n_done;
        (r.priority == Priority::demanded ? stats_.bytes_demanded : stats_.bytes_prefetched) += r.bytes;
        stats_.latency_sum_us += r.elapsed_us;
        stats_.latency_max_us = std::max(stats_.latency_max_us, r.elapsed_us);
    }
    completed_.notify_all();
}

std::size_t ReadQueue::fetch_locked(std::span<Completion> completions) {
    std::size_t n = 0;
    while (n < completions.size() && !complete_.empty()) {
        const std::int32_t index = complete_.first;
        Request& r = at(index);
        const Outcome outcome = r.error ? Outcome::failed : r.cancelled ? Outcome::cancelled : Outcome::done;
        completions[n++] = {r.tag, ticket_of(index, r.generation), outcome, r.elapsed_us, std::move(r.error)};
        r.error.reset();
        move_to(index, Place::free);
    }
    return n;
}

}  // namespace greenroom::cache
