#include "cpu/parallel.h"

#include "cpu/topology.h"
#include "quant/base/error.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace greenroom::cpu {
namespace {

constexpr std::uint64_t kRangeMask = 0xffffffffU;
constexpr std::uint64_t kClosed = kRangeMask;  // as range number: nothing to hand out

// Looks again and again for a while before a thread sleeps or yields: longer than the gap between two regions
// of a forward pass and, where a sleeping thread takes 50 µs and more to come back, than what that costs. By
// the clock, since a pause takes 10 times as long on some processors as on others.
class Spinning {
  public:
    // False when it has been long enough.
    bool go_on() noexcept {
        pause_cpu();
        if (++n_turns_ % kTurnsPerLook != 0) return !over_;
        const auto now = std::chrono::steady_clock::now();
        if (n_turns_ == kTurnsPerLook) end_ = now + kLongest;
        over_ = now >= end_;
        return !over_;
    }

  private:
    static constexpr int kTurnsPerLook = 32;
    static constexpr std::chrono::microseconds kLongest{300};

    int n_turns_ = 0;
    bool over_ = false;
    std::chrono::steady_clock::time_point end_{};
};

// The first range of a share; that of the one after the last is their number.
constexpr std::int64_t first_range(int share, int n_shares, std::int64_t n_ranges) noexcept {
    return share * n_ranges / n_shares;
}

}  // namespace

void pause_cpu() noexcept {
#if defined(__x86_64__)
    _mm_pause();
#endif
}

ThreadTeam::ThreadTeam(int n_threads, Placement placement) {
    std::vector<int> cores;
    if (n_threads <= 0 || placement == Placement::own_core) {
        const Topology topology = read_topology();
        if (n_threads <= 0) n_threads = default_thread_count(topology);
        if (placement == Placement::own_core && n_threads <= static_cast<int>(topology.core_cpus.size()))
            cores = topology.core_cpus;
    }
    shares_ = std::vector<Share>(static_cast<std::size_t>(n_threads));
    for (Share& share : shares_) share.ticket.store(kClosed, std::memory_order_relaxed);
    n_active_.store(n_threads, std::memory_order_relaxed);
    for (int thread = 1; thread < n_threads; ++thread) {
        workers_.emplace_back([this, thread]() noexcept { serve(thread); });
        if (!cores.empty() && keep_on_cpu(workers_.back(), cores[static_cast<std::size_t>(thread)]))
            ++n_placed_;
    }
}

ThreadTeam::~ThreadTeam() {
    stopping_.store(true, std::memory_order_relaxed);
    n_regions_.fetch_add(1);  // carries stopping_ to the workers' load in await_region()
    n_regions_.notify_all();
    set_active(size());
    for (std::thread& worker : workers_) worker.join();
}

void ThreadTeam::set_active(int n_active) noexcept {
    assert(n_active >= 1 && n_active <= size());
    if (n_active == this->n_active()) return;
    n_active_.store(n_active, std::memory_order_release);
    n_active_.notify_all();
}

void ThreadTeam::run(std::int64_t n_items, std::int64_t grain, const void* task, Call call) {
    GR_CHECK(grain > 0 && n_items >= 0);
    const std::int64_t n_ranges = (n_items + grain - 1) / grain;
    GR_CHECK(n_ranges < static_cast<std::int64_t>(kClosed));
    if (n_ranges <= 1 || n_active() == 1) {
        for (std::int64_t first = 0; first < n_items; first += grain)
            call(task, first, std::min(first + grain, n_items), 0);
        return;
    }

    // The ticket is closed, so nobody claims anything while these change.
    const int n_shares = n_active();
    task_.store(task, std::memory_order_release);
    call_.store(call, std::memory_order_release);
    n_items_.store(n_items, std::memory_order_release);
    grain_.store(grain, std::memory_order_release);
    n_done_.store(0, std::memory_order_relaxed);
    failed_.store(false, std::memory_order_relaxed);
    const std::uint64_t region = n_regions_.load(std::memory_order_relaxed) + std::uint64_t{1};
    for (int share = 0; share < n_shares; ++share)
        shares_[static_cast<std::size_t>(share)].ticket.store(
            region << 32 | static_cast<std::uint64_t>(first_range(share, n_shares, n_ranges)),
            std::memory_order_release);  // pairs with the loads in work_off()
    // Both sequentially consistent, as are those in await_region(): either the worker sees the new region
    // before it sleeps or it is seen to be asleep here.
    n_regions_.fetch_add(1);
    if (n_asleep_.load() > 0) n_regions_.notify_all();

    work(0);
    // What others have begun is waited for, not the others themselves. Pairs with the release in work_off().
    Spinning spinning;
    while (n_done_.load(std::memory_order_acquire) < n_ranges)
        if (!spinning.go_on()) std::this_thread::yield();
    for (int share = 0; share < n_shares; ++share)
        shares_[static_cast<std::size_t>(share)].ticket.store(kClosed, std::memory_order_release);
    if (failed_.load(std::memory_order_relaxed)) std::rethrow_exception(std::exchange(error_, nullptr));
}

// Claims ranges of the region in hand until there are none left, of the thread's own share first.
void ThreadTeam::work(int thread) noexcept {
    const int n_shares = n_active();
    for (int i = 0; i < n_shares; ++i) work_off((thread + i) % n_shares, thread);
}

// A worker may look at a ticket, be put to sleep by the scheduler, and go on when the region is over and the
// next one is being written. It then claims nothing: a claim succeeds only if the ticket is still what the
// worker has looked at, and since all tickets are closed before the members are rewritten, whoever has read a
// new member finds another ticket. n_active_ changes while they are closed as well.
void ThreadTeam::work_off(int share, int thread) noexcept {
    std::atomic<std::uint64_t>& next = shares_[static_cast<std::size_t>(share)].ticket;
    std::uint64_t ticket = next.load(std::memory_order_acquire);
    std::int64_t n_done = 0;
    for (;;) {
        const auto range = static_cast<std::int64_t>(ticket & kRangeMask);
        const void* task = task_.load(std::memory_order_acquire);
        const Call call = call_.load(std::memory_order_acquire);
        const std::int64_t n_items = n_items_.load(std::memory_order_acquire);
        const std::int64_t grain = grain_.load(std::memory_order_acquire);
        const int n_shares = n_active_.load(std::memory_order_acquire);
        if (thread >= n_shares) break;
        if (range == static_cast<std::int64_t>(kClosed) ||
            range >= first_range(share + 1, n_shares, (n_items + grain - 1) / grain))
            break;
        if (!next.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
        try {
            if (!failed_.load(std::memory_order_relaxed))
                call(task, range * grain, std::min((range + 1) * grain, n_items), thread);
        } catch (...) {
            if (!failed_.exchange(true)) error_ = std::current_exception();
        }
        ++n_done;
        ++ticket;
    }
    if (n_done > 0) n_done_.fetch_add(n_done, std::memory_order_release);
}

// A worker's life.
void ThreadTeam::serve(int thread) noexcept {
    std::uint32_t seen = 0;
    for (;;) {
        await_part(thread);
        seen = await_region(seen);
        if (stopping_.load(std::memory_order_relaxed)) return;
        work(thread);
    }
}

// Sleeps while the thread takes no part. Not in n_asleep_, so that regions do not wake it.
void ThreadTeam::await_part(int thread) noexcept {
    for (;;) {
        const int n_active = n_active_.load(std::memory_order_acquire);
        if (thread < n_active) return;
        n_active_.wait(n_active, std::memory_order_acquire);
    }
}

// Returns the number of regions so far once it is not `seen`: spins a little, then sleeps.
std::uint32_t ThreadTeam::await_region(std::uint32_t seen) noexcept {
    Spinning spinning;
    do {
        if (const std::uint32_t now = n_regions_.load(); now != seen) return now;
    } while (spinning.go_on());
    n_asleep_.fetch_add(1);
    n_regions_.wait(seen);
    n_asleep_.fetch_sub(1);
    return n_regions_.load();
}

}  // namespace greenroom::cpu
