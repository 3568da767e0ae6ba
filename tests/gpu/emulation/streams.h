#pragma once

// A stream of the emulated device: a thread that takes work from a queue; or, during a capture, a list that
// it goes to.

#include "tests/gpu/emulation/fake_device.h"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace greenroom::emulation {

using Work = std::function<void()>;

// What a capture has seen of each stream: the number of its works that come before.
using SeenWork = std::map<CUstream_st*, std::int64_t>;

struct Capturing {
    CUstream_st* origin = nullptr;
    std::vector<Work> works;  // in the order of the calls, which is an order that the dependencies allow
    bool invalid = false;
    std::map<CUstream_st*, std::int64_t> n_works;  // of each stream that takes part
    std::map<CUstream_st*, SeenWork> seen;
};

struct EventState {
    std::mutex mu;
    std::condition_variable changed;
    std::int64_t n_recorded = 0;
    std::int64_t n_done = 0;
    std::chrono::steady_clock::time_point done_at;
    bool timed = false;
    // Set by a record during a capture.
    std::shared_ptr<Capturing> captured_in;
    SeenWork captured_after;
};

// Puts work into the stream, or into its capture. `stream` is checked.
cudaError_t enqueue(CUstream_st* stream, Work work);

}  // namespace greenroom::emulation

struct CUevent_st {
    std::shared_ptr<greenroom::emulation::EventState> state =
        std::make_shared<greenroom::emulation::EventState>();
};

struct CUstream_st {
    std::mutex mu;  // guards the members below
    std::condition_variable changed;
    std::deque<greenroom::emulation::Work> queue;
    bool busy = false;
    bool ending = false;
    std::shared_ptr<greenroom::emulation::Capturing> capturing;
    std::thread thread;
};
