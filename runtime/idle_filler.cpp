#include "runtime/idle_filler.h"

#include "cache/signal_mask.h"
#include "runtime/engine.h"

#include <array>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <stop_token>

namespace greenroom::runtime {
namespace {

// Shorter than it takes to read what RamTier::fill() asks for at once, unless experts are tiny.
constexpr std::chrono::milliseconds kPause{2};

// True when nothing is left to do.
bool fill_some(RamTier& tier) {
    std::array<cache::ExpertId, 32> arrived;  // stays empty: between batches nothing is demanded
    tier.cache().take_in(arrived, std::chrono::microseconds(0));
    tier.fill();
    return tier.cache().n_ahead() == 0;
}

void fill_while_idle(const std::stop_token& stop, const Engine& engine) {
    std::mutex mutex;
    std::condition_variable_any stopped;
    std::unique_lock pause(mutex);
    while (!stop.stop_requested()) {
        {
            const std::unique_lock turn(engine.evaluation_mutex(), std::try_to_lock);
            if (turn.owns_lock() && fill_some(*engine.experts())) return;
        }
        stopped.wait_for(pause, stop, kPause, [] { return false; });
    }
}

}  // namespace

IdleFiller::IdleFiller(const Engine& engine) {
    if (engine.experts() == nullptr) return;
    const cache::SignalsBlocked signals_blocked;
    thread_ = std::jthread([&engine](const std::stop_token& stop) { fill_while_idle(stop, engine); });
}

}  // namespace greenroom::runtime
