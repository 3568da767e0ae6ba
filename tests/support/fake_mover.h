#pragma once

// FakeMover: a Mover whose requests end when and how the test says. Copies nothing unless told to.

#include "cache/mover.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

namespace greenroom::test {

class FakeMover : public cache::Mover {
  public:
    struct Started {
        cache::Ticket ticket{};
        cache::Priority priority = cache::Priority::demanded;
        std::uint64_t tag = 0;
        std::vector<cache::Copy> copies;
        bool is_cancelled = false;
    };

    // At most this many under way.
    std::size_t max_requests = 1000;
    // What a read brings, for each copy.
    std::function<void(const cache::Copy&)> fill = [](const cache::Copy&) {};

    // Those that have not ended, in the order of their start.
    const std::deque<Started>& under_way() const { return under_way_; }

    // Ends the oldest request (cancelled, if it has been), all of them, or makes it fail.
    void finish_one() { end(cache::Outcome::done, std::nullopt); }
    void finish_all() {
        while (!under_way_.empty()) finish_one();
    }
    void fail_one(const std::string& message) { end(cache::Outcome::failed, Error(ErrorKind::io, message)); }

    std::optional<cache::Ticket> start(const cache::CopyRequest& request) override {
        if (under_way_.size() >= max_requests) return std::nullopt;
        const cache::Ticket ticket{++n_started_};
        under_way_.push_back(
            {ticket, request.priority, request.tag, {request.copies.begin(), request.copies.end()}, false});
        return ticket;
    }
    void promote(cache::Ticket ticket) noexcept override {
        if (Started* started = find(ticket)) started->priority = cache::Priority::demanded;
    }
    void cancel(cache::Ticket ticket) noexcept override {
        if (Started* started = find(ticket)) started->is_cancelled = true;
    }
    std::size_t poll(std::span<cache::Completion> completions) override {
        std::size_t n = 0;
        for (; n < completions.size() && !ended_.empty(); ++n) {
            completions[n] = std::move(ended_.front());
            ended_.pop_front();
        }
        return n;
    }
    // Nobody else ends a request, so waiting is ending one.
    std::size_t wait(std::span<cache::Completion> completions, std::chrono::microseconds) override {
        if (ended_.empty() && !under_way_.empty()) finish_one();
        return poll(completions);
    }

  private:
    Started* find(cache::Ticket ticket) noexcept {
        const auto found = std::find_if(under_way_.begin(), under_way_.end(),
                                        [ticket](const Started& s) { return s.ticket == ticket; });
        return found == under_way_.end() ? nullptr : &*found;
    }

    void end(cache::Outcome outcome, std::optional<Error> error) {
        Started started = std::move(under_way_.front());
        under_way_.pop_front();
        if (started.is_cancelled) outcome = cache::Outcome::cancelled;
        if (outcome == cache::Outcome::done)
            for (const cache::Copy& copy : started.copies) fill(copy);
        ended_.push_back({started.tag, started.ticket, outcome, 0, std::move(error)});
    }

    std::uint64_t n_started_ = 0;
    std::deque<Started> under_way_;
    std::deque<cache::Completion> ended_;
};

}  // namespace greenroom::test
