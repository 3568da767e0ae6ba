#pragma once

// ThreadTeam: the CPU threads of one engine and the one way to use them, parallel_for(). The caller's thread
// takes part, so a team of n has n - 1 threads of its own, which live as long as the team: they spin briefly
// for the next work, since a forward pass has some twenty pieces of it per layer, and sleep when none comes.
//
// Why not OpenMP: its parallel regions end with a barrier of all threads. Where a core is taken by another
// program, every region then waits for the scheduler to bring that thread back, even when nothing was left
// for it to do. Here a region ends when its work is done; a thread that comes late finds nothing and is not
// waited for. docs/performance.md has the figures.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace greenroom::cpu {

// Between two looks at memory that another thread, or a device, is about to write.
void pause_cpu() noexcept;

// Where the threads of a team run.
enum class Placement {
    // Where the system lets them. The default: where other programs had work too, staying on a core made no
    // difference beyond the noise (docs/performance.md), and a thread has to wait for whoever takes its core.
    anywhere,
    // Each on a core of its own, fast cores first, as long as there are as many as threads. Not the caller's
    // thread, since every thread that it creates later (readers, say) would have to stay there too; its core
    // is left free for it. Where the system refuses, anywhere.
    own_core,
};

class ThreadTeam {
  public:
    // n_threads >= 1; 0 takes default_thread_count().
    explicit ThreadTeam(int n_threads, Placement placement = Placement::anywhere);
    ~ThreadTeam();
    ThreadTeam(const ThreadTeam&) = delete;
    ThreadTeam& operator=(const ThreadTeam&) = delete;

    int size() const noexcept { return static_cast<int>(workers_.size()) + 1; }

    // From the next parallel_for() on, that many threads take part, 1 <= n_active <= size(); all at first.
    // The others sleep. Not during one.
    void set_active(int n_active) noexcept;
    int n_active() const noexcept { return n_active_.load(std::memory_order_relaxed); }

    // Threads that have been placed on cores of their own.
    int n_placed() const noexcept { return n_placed_; }

    // Calls task(first, last, thread) for disjoint ranges of at most `grain` items that cover [0, n_items),
    // each on one thread, 0 <= thread < n_active(). A thread that is free gets the next range of its own
    // share of the items, which is as large as that of any other thread; once there is none, of another's
    // share. What it has written in one region, of the rows of a prompt, say, it then mostly reads in the
    // next one: from its own caches. Which thread gets what is not fixed: results must not depend on it.
    // Returns when all are done. An exception of a task is rethrown here (one of them, if there are several);
    // ranges that are not begun are then skipped. One call at a time per team; not from within a task.
    template <class Task>
    void parallel_for(std::int64_t n_items, std::int64_t grain, const Task& task) {
        run(n_items, grain, &task, [](const void* t, std::int64_t first, std::int64_t last, int thread) {
            (*static_cast<const Task*>(t))(first, last, thread);
        });
    }

  private:
    using Call = void (*)(const void* task, std::int64_t first, std::int64_t last, int thread);

    // Ranges that are handed out one after the other. In the ticket the number of the region (high half) and
    // of the next range of all (low half); kClosed between regions.
    struct alignas(64) Share {
        std::atomic<std::uint64_t> ticket;
    };

    void run(std::int64_t n_items, std::int64_t grain, const void* task, Call call);
    void work(int thread) noexcept;
    void work_off(int share, int thread) noexcept;
    void serve(int thread) noexcept;
    void await_part(int thread) noexcept;
    std::uint32_t await_region(std::uint32_t seen) noexcept;

    // The region in hand. Written by run() while the ticket is closed, read by workers, who may come late:
    // see work().
    std::atomic<const void*> task_{nullptr};
    std::atomic<Call> call_{nullptr};
    std::atomic<std::int64_t> n_items_{0};
    std::atomic<std::int64_t> grain_{1};
    std::atomic<int> n_active_{1};  // shares; also what threads that take no part watch

    std::vector<Share> shares_;  // one for each thread
    // Ranges finished, by threads that have found no more in a share.
    alignas(64) std::atomic<std::int64_t> n_done_{0};
    alignas(64) std::atomic<std::uint32_t> n_regions_{0};  // what sleeping workers watch
    std::atomic<int> n_asleep_{0};
    std::atomic<bool> failed_{false};
    std::atomic<bool> stopping_{false};
    std::exception_ptr
        error_;  // written by the thread that sets failed_ first, read when all ranges are done

    int n_placed_ = 0;
    std::vector<std::thread> workers_;
};

// The same where neighbouring items follow each other in memory. The more pieces, the less does a thread that
// is held up leave to wait for; the fewer, the less is memory waited for at their ends. So they get smaller:
// a thread's first piece is half of its share, the second half of the rest, and so on, as long as pieces have
// `least` items; and each begins where the one before ended, with what has been fetched ahead.
template <class Task>
void share_out(ThreadTeam& team, std::int64_t n_items, std::int64_t least, const Task& task) {
    const std::int64_t n_threads = team.n_active();
    if (n_threads == 1) {
        if (n_items > 0) task(std::int64_t{0}, n_items, 0);
        return;
    }
    // The last two pieces of a share are of one size.
    constexpr std::int64_t kMostPieces = 6;
    std::int64_t n_pieces = 2;
    while (n_pieces < kMostPieces && n_items >= (least * n_threads) << n_pieces) ++n_pieces;
    const auto begin_of = [=](std::int64_t piece) {
        const std::int64_t share = piece / n_pieces;
        const std::int64_t begin = share * n_items / n_threads;
        const std::int64_t size = (share + 1) * n_items / n_threads - begin;
        const std::int64_t parts = std::int64_t{1} << piece % n_pieces;  // of which the last one is left
        return begin + size * (parts - 1) / parts;
    };
    team.parallel_for(n_pieces * n_threads, 1, [&](std::int64_t first, std::int64_t last, int thread) {
        const std::int64_t begin = begin_of(first);
        const std::int64_t end = begin_of(last);
        if (begin < end) task(begin, end, thread);
    });
}

}  // namespace greenroom::cpu
