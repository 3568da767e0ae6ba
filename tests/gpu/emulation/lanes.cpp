// Fibers by Boost.Context: contexts are switched by hand, because a block that faults abandons its lanes
// wherever they are, without unwinding kernels that are noexcept.

#include "tests/gpu/emulation/lanes.h"

#include "tests/gpu/emulation/control.h"
#include "tests/gpu/emulation/fiber_stacks.h"
#include "tests/gpu/emulation/shared_variables.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cassert>
#include <chrono>
#include <numeric>
#include <random>
#include <string>
#include <thread>

namespace greenroom::emulation {

constinit thread_local Caller* current_caller = nullptr;
constinit thread_local uint3 threadIdx{};
constinit thread_local uint3 blockIdx{};
constinit thread_local uint3 blockDim{};
constinit thread_local uint3 gridDim{};

namespace {

constexpr unsigned kWarpLanes = 32;
constexpr unsigned kMaxLanes = 1024;
// Half a minute of naps. They are counted because on a machine with much else to do the host, for whom a
// kernel spins, may take any time, and then naps are longer, too.
constexpr auto kNap = std::chrono::microseconds(20);
constexpr int kMaxNaps = 400'000;

// What a lane waits in.
struct Site {
    const char* what = nullptr;
    Place place{nullptr, 0};
    Caller caller;
};

bool same_text(const char* a, const char* b) {
    return a == b || (a != nullptr && b != nullptr && std::strcmp(a, b) == 0);
}

bool same_site(const Site& a, const Site& b) {
    return a.place.line == b.place.line && a.caller.line == b.caller.line && same_text(a.what, b.what) &&
           same_text(a.place.file, b.place.file) && same_text(a.caller.file, b.caller.file);
}

// Where the lanes of a warp or block meet. Opens when all have come, to the same site.
struct Gate {
    unsigned n_lanes = 0;
    unsigned n_waiting = 0;
    bool mixed = false;
    Site site;

    // Is this lane the last one?
    bool arrive(const Site& at) {
        if (n_waiting == 0)
            site = at;
        else
            mixed |= !same_site(site, at);
        if (++n_waiting < n_lanes || mixed) return false;
        n_waiting = 0;
        return true;
    }
};

struct Warp {
    Gate gate;
    // Two sets: a lane that is one call ahead must not overwrite what others have yet to read.
    unsigned set = 0;
    std::uint64_t values[2][kWarpLanes];
};

struct AsyncCopy {
    void* to;
    const void* from;
    int group;
};

enum class LaneState { ready, waiting, done };

struct Lane {
    unsigned index = 0;
    unsigned place_in_order = 0;
    uint3 thread_index{};
    LaneState state = LaneState::ready;
    Fiber* fiber = nullptr;  // none: not begun
    Site site;               // while waiting
    Caller caller;
    std::vector<AsyncCopy> copies;
    int n_groups = 0;
};

// Lanes that can go on, in the lane order.
class ReadySet {
  public:
    void insert(unsigned place) { words_[place / 64] |= std::uint64_t{1} << place % 64; }
    void erase(unsigned place) { words_[place / 64] &= ~(std::uint64_t{1} << place % 64); }
    // The next one after `place`, around the end; kMaxLanes if there is none.
    unsigned next(unsigned place) const {
        constexpr unsigned n_words = kMaxLanes / 64;
        unsigned word = place / 64;
        std::uint64_t bits = place % 64 == 63 ? 0 : words_[word] & ~std::uint64_t{0} << (place % 64 + 1);
        for (unsigned i = 0; i <= n_words; ++i) {
            if (bits != 0) return word * 64 + static_cast<unsigned>(std::countr_zero(bits));
            word = (word + 1) % n_words;
            bits = words_[word];
        }
        return kMaxLanes;
    }

  private:
    std::uint64_t words_[kMaxLanes / 64]{};
};

// A block at work, and all that is reused for the next one.
struct Block {
    const Launch* launch = nullptr;
    const std::vector<SharedVariable>* shared_variables = nullptr;
    unsigned n_lanes = 0;
    unsigned n_unfinished = 0;
    Lane lanes[kMaxLanes];
    unsigned order[kMaxLanes];  // lane by place in order
    ReadySet ready;
    Lane* running = nullptr;
    Gate gate;
    Warp warps[kMaxLanes / kWarpLanes];
    FiberStacks fibers;
    unsigned char* dynamic_memory = nullptr;
    std::string fault;
    std::uint64_t n_turns = 0;  // of lanes that spin
    int n_naps = 0;
};

constinit thread_local Block* current_block = nullptr;

std::string site_text(const Site& site) {
    std::string text = fmt::format("{} at {}:{}", site.what, site.place.file, site.place.line);
    if (site.caller.file != nullptr)
        text += fmt::format(", called at {}:{}", site.caller.file, site.caller.line);
    return text;
}

std::string whereabouts(const Lane& lane) {
    if (lane.state == LaneState::done) return "have returned";
    return "wait in " + site_text(lane.site);
}

// "lanes 0-31 wait in …; lanes 32-63 have returned"
std::string all_whereabouts(const Block& block) {
    std::string text;
    for (unsigned first = 0; first < block.n_lanes;) {
        const std::string here = whereabouts(block.lanes[first]);
        unsigned last = first;
        while (last + 1 < block.n_lanes && whereabouts(block.lanes[last + 1]) == here) ++last;
        text += fmt::format("{}lanes {}-{} {}", text.empty() ? "" : "; ", first, last, here);
        first = last + 1;
        if (text.size() > 2000) return text + "; …";
    }
    return text;
}

void write_fault(Block& block, const std::string& what) {
    block.fault = fmt::format("{}, block ({}, {}, {}): {}", function_name(block.launch->kernel), blockIdx.x,
                              blockIdx.y, blockIdx.z, what);
}

[[noreturn]] void end_block(Block& block) {
    current_caller = nullptr;
    block.fibers.leave_to_main();
}

void run_lane(Block& block, Lane& lane) {
    block.running = &lane;
    threadIdx = lane.thread_index;
    current_caller = &lane.caller;
    block.launch->lane();
    lane.state = LaneState::done;
    block.ready.erase(lane.place_in_order);
    --block.n_unfinished;
}

// What each fiber does: lanes that have not begun, until those come next that wait on fibers of their own.
void run_lanes(void* data) {
    Block& block = *static_cast<Block*>(data);
    Lane* lane = block.running;
    for (;;) {
        Fiber* self = lane->fiber;
        run_lane(block, *lane);
        lane->fiber = nullptr;
        if (block.n_unfinished == 0) end_block(block);
        const unsigned place = block.ready.next(lane->place_in_order);
        if (place == kMaxLanes) {
            write_fault(block, "lanes wait for others in vain: " + all_whereabouts(block));
            end_block(block);
        }
        lane = &block.lanes[block.order[place]];
        if (lane->fiber != nullptr) {
            block.running = lane;
            block.fibers.leave_to(*self, *lane->fiber);
        }
        lane->fiber = self;
    }
}

// Runs others until the lane, which is not the only one that is ready, has its turn again.
void switch_lane(Block& block, Lane& lane) {
    const unsigned place = block.ready.next(lane.place_in_order);
    if (place == kMaxLanes) {
        write_fault(block, "lanes wait for others in vain: " + all_whereabouts(block));
        end_block(block);
    }
    Lane& next = block.lanes[block.order[place]];
    if (&next == &lane) return;
    block.running = &next;
    if (next.fiber == nullptr) next.fiber = &block.fibers.take(run_lanes, &block);
    block.fibers.switch_to(*lane.fiber, *next.fiber);
    block.running = &lane;
    threadIdx = lane.thread_index;
    current_caller = &lane.caller;
}

void open_gate(Block& block, unsigned first_lane, unsigned n_lanes) {
    for (unsigned i = first_lane; i < first_lane + n_lanes; ++i) {
        block.lanes[i].state = LaneState::ready;
        block.ready.insert(block.lanes[i].place_in_order);
    }
}

void wait_in(Block& block, Lane& lane, const Site& site) {
    lane.site = site;
    lane.state = LaneState::waiting;
    block.ready.erase(lane.place_in_order);
    switch_lane(block, lane);
}

void refuse_partial_warp(Block& block, const Lane& lane, unsigned mask, const Site& site) {
    write_fault(
        block,
        fmt::format("lane {}: {}: mask {:#010x} in a warp of {} lanes: all 32 have to take part", lane.index,
                    site_text(site), mask, block.warps[lane.index / kWarpLanes].gate.n_lanes));
}

void prepare_order(Block& block, LaneOrder order, std::uint32_t seed) {
    std::iota(block.order, block.order + block.n_lanes, 0U);
    if (order == LaneOrder::backward) std::reverse(block.order, block.order + block.n_lanes);
    if (order == LaneOrder::shuffled) {
        std::minstd_rand random(seed);
        std::shuffle(block.order, block.order + block.n_lanes, random);
    }
}

void prepare_lanes(Block& block) {
    block.n_unfinished = block.n_lanes;
    block.gate = {};
    block.gate.n_lanes = block.n_lanes;
    for (unsigned w = 0; w * kWarpLanes < block.n_lanes; ++w) {
        block.warps[w].gate = {};
        block.warps[w].gate.n_lanes = std::min(kWarpLanes, block.n_lanes - w * kWarpLanes);
        block.warps[w].set = 0;
    }
    for (unsigned place = 0; place < block.n_lanes; ++place) {
        Lane& lane = block.lanes[block.order[place]];
        lane.index = block.order[place];
        lane.place_in_order = place;
        lane.thread_index = {lane.index % blockDim.x, lane.index / blockDim.x % blockDim.y,
                             lane.index / blockDim.x / blockDim.y};
        lane.state = LaneState::ready;
        lane.fiber = nullptr;
        lane.caller = {};
        lane.copies.clear();
        lane.n_groups = 0;
        block.ready.insert(place);
    }
}

void run_block(Block& block) {
    prepare_lanes(block);
    fill(*block.shared_variables);
    block.dynamic_memory = block.fibers.dynamic_memory(block.launch->shared_bytes);
    Lane& first = block.lanes[block.order[0]];
    block.running = &first;
    first.fiber = &block.fibers.take(run_lanes, &block);
    block.fibers.enter(*first.fiber);
    if (block.fault.empty()) return;
    for (unsigned i = 0; i < block.n_lanes; ++i) block.ready.erase(i);
    block.fibers.abandon_all();
}

}  // namespace

void sync_block(Place place) {
    Block& block = *current_block;
    Lane& lane = *block.running;
    const Site site{"__syncthreads()", place, lane.caller};
    if (block.gate.arrive(site)) {
        open_gate(block, 0, block.n_lanes);
        return;
    }
    wait_in(block, lane, site);
}

const std::uint64_t* exchange(unsigned mask, std::uint64_t value, const char* what, Place place) {
    Block& block = *current_block;
    Lane& lane = *block.running;
    Warp& warp = block.warps[lane.index / kWarpLanes];
    const Site site{what, place, lane.caller};
    if (mask != 0xffffffffU || warp.gate.n_lanes != kWarpLanes) {
        refuse_partial_warp(block, lane, mask, site);
        end_block(block);
    }
    const std::uint64_t* values = warp.values[warp.set];
    warp.values[warp.set][lane.index % kWarpLanes] = value;
    if (warp.gate.arrive(site)) {
        warp.set ^= 1;
        open_gate(block, lane.index / kWarpLanes * kWarpLanes, kWarpLanes);
    } else {
        wait_in(block, lane, site);
    }
    return values;
}

void nap() {
    Block& block = *current_block;
    Lane& lane = *block.running;
    switch_lane(block, lane);
    if (block.n_unfinished > 1 && ++block.n_turns % 64 != 0) return;
    std::this_thread::sleep_for(kNap);
    if (++block.n_naps < kMaxNaps) return;
    write_fault(block, "spins for half a minute");
    end_block(block);
}

// By an access that both sides make: ThreadSanitizer does not know fences.
void fence() {
    static std::atomic<unsigned> meeting_point{0};
    meeting_point.fetch_add(1);
}

void* dynamic_shared_memory() { return current_block->dynamic_memory; }

void copy_async_16(void* shared, const void* global) {
    Lane& lane = *current_block->running;
    lane.copies.push_back({shared, global, lane.n_groups});
}

void copy_async_commit() { ++current_block->running->n_groups; }

void copy_async_wait(int n_younger_groups) {
    Lane& lane = *current_block->running;
    const int last = lane.n_groups - 1 - n_younger_groups;
    std::erase_if(lane.copies, [last](const AsyncCopy& copy) {
        if (copy.group > last) return false;
        // Through a vector type: both sides have to be aligned.
        *static_cast<uint4*>(copy.to) = *static_cast<const uint4*>(copy.from);
        return true;
    });
}

std::string run_grid(const Launch& launch) {
    // Blocks are large; one per thread that runs kernels.
    static thread_local const std::unique_ptr<Block> storage = std::make_unique<Block>();
    Block& block = *storage;
    block.launch = &launch;
    block.shared_variables = &shared_variables_of(launch.kernel);
    block.n_lanes = launch.block.x * launch.block.y * launch.block.z;
    block.fault.clear();
    block.n_naps = 0;
    current_block = &block;
    gridDim = launch.grid;
    blockDim = launch.block;
    const LaneOrder order = lane_order();
    std::uint32_t seed = lane_order_seed();
    prepare_order(block, order, seed);
    for (unsigned z = 0; z < gridDim.z; ++z)
        for (unsigned y = 0; y < gridDim.y; ++y)
            for (unsigned x = 0; x < gridDim.x && block.fault.empty(); ++x) {
                blockIdx = {x, y, z};
                if (order == LaneOrder::shuffled) prepare_order(block, order, ++seed);
                run_block(block);
            }
    current_block = nullptr;
    return block.fault;
}

}  // namespace greenroom::emulation
