#include "runtime/hand_over.h"

#include "cpu/parallel.h"
#include "quant/base/error.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <thread>

namespace greenroom::runtime {
namespace {

using Clock = std::chrono::steady_clock;

// Flags and data lie in cache lines of their own: whoever waits for a flag fetches its line again and again.
constexpr std::int64_t kLine = 64;
constexpr std::int64_t kWord = 4;
// Flags of a turn.
constexpr int kCallsFlag = 0;
constexpr int kAnswerFlag = 1;
constexpr int kFirstGuessFlag = 2;

// A layer of a GPU takes less; after that the core is left to others between two looks.
constexpr std::chrono::milliseconds kSpins{1};
// Seldom: the driver may be locked by a thread that waits for the device, which waits for us.
constexpr std::chrono::milliseconds kLooksAtStream{200};
constexpr std::chrono::seconds kPatience{60};
constexpr int kTurnsPerLook = 64;

std::int64_t lines(std::int64_t bytes) noexcept { return (bytes + kLine - 1) / kLine * kLine; }

bool is_set(const std::atomic<bool>* flag) noexcept {
    return flag != nullptr && flag->load(std::memory_order_relaxed);
}

}  // namespace

HandOver::HandOver(const HandOverSize& size) : size_(size) {
    calls_at_ = (kFirstGuessFlag + size.n_guesses) * kLine;
    guesses_at_ = calls_at_ + 3 * lines(size.n_calls * kWord);
    x_at_ = guesses_at_ + size.n_guesses * lines(size.n_calls * kWord);
    sum_at_ = x_at_ + lines(size.n_cols * kWord);
    turn_bytes_ = sum_at_ + lines(size.n_cols * kWord);
    memory_ = gpu::PinnedBuffer(size.n_turns * turn_bytes_, "what GPU and CPU tell each other in a step");
    std::fill_n(memory_.data(), memory_.bytes(), std::byte{0});
}

std::byte* HandOver::at(int turn, std::int64_t offset) const noexcept {
    return memory_.data() + turn * turn_bytes_ + offset;
}

std::uint32_t* HandOver::flag(int turn, int number) const noexcept {
    return reinterpret_cast<std::uint32_t*>(at(turn, number * kLine));
}

gpu::HostCalls HandOver::calls(int turn) const noexcept {
    const std::int64_t stride = lines(size_.n_calls * kWord);
    return {.experts = reinterpret_cast<std::int32_t*>(at(turn, calls_at_)),
            .weights = reinterpret_cast<float*>(at(turn, calls_at_ + stride)),
            .missed = reinterpret_cast<std::int32_t*>(at(turn, calls_at_ + 2 * stride)),
            .ready = flag(turn, kCallsFlag),
            .x = reinterpret_cast<float*>(at(turn, x_at_))};
}

HandOver::Guess HandOver::guess(int turn, int number) const noexcept {
    return {reinterpret_cast<std::int32_t*>(at(turn, guesses_at_ + number * lines(size_.n_calls * kWord))),
            flag(turn, kFirstGuessFlag + number)};
}

MatrixView HandOver::sum(int turn) const noexcept {
    return {reinterpret_cast<float*>(at(turn, sum_at_)), 1, size_.n_cols, size_.n_cols};
}

const std::uint32_t* HandOver::answer_flag(int turn) const noexcept { return flag(turn, kAnswerFlag); }

void HandOver::begin(gpu::Stream& stream, std::uint32_t step) noexcept {
    stream_ = &stream;
    step_ = step;
}

bool HandOver::wait_for_calls(int turn, const std::atomic<bool>* cancelled) const {
    return wait(flag(turn, kCallsFlag), turn, cancelled);
}

void HandOver::wait_for_guess(int turn, int number) const {
    wait(flag(turn, kFirstGuessFlag + number), turn, nullptr);
}

bool HandOver::wait(std::uint32_t* flag, int turn, const std::atomic<bool>* cancelled) const {
    // Pairs with store_flag() of the kernels: what was told before is seen.
    const auto is_raised = [&] { return std::atomic_ref(*flag).load(std::memory_order_acquire) == step_; };
    const auto fail_waiting = [turn](const char* found) {
        fail(ErrorKind::device,
             "the GPU has not handed over the calls of a step's MoE layer {} (of those that it runs, counted "
             "from 0): {}. Is the device in order? -ngl 0 does without it",
             turn, found);
    };
    Clock::time_point begin;
    Clock::time_point last_look;
    for (bool is_first = true;; is_first = false) {
        for (int i = 0; i < kTurnsPerLook; ++i) {
            if (is_raised()) return true;
            cpu::pause_cpu();
        }
        if (is_set(cancelled)) return false;
        const Clock::time_point now = Clock::now();
        if (is_first) begin = last_look = now;
        if (now - begin > kSpins) std::this_thread::yield();
        if (now - last_look < kLooksAtStream) continue;
        last_look = now;
        if (stream_->idle() && !is_raised()) fail_waiting("it has ended without");
        if (now - begin > kPatience && !is_raised()) fail_waiting("it does not go on");
    }
}

void HandOver::answer(int turn) noexcept {
    // Pairs with wait_for_flag() of wait_and_add(): the sum is seen.
    std::atomic_ref(*flag(turn, kAnswerFlag)).store(step_, std::memory_order_release);
}

void HandOver::give_up(int first_turn) {
    const auto store_all = [&](std::uint32_t value) {
        for (int turn = first_turn; turn < size_.n_turns; ++turn)
            std::atomic_ref(*flag(turn, kAnswerFlag)).store(value, std::memory_order_release);
    };
    store_all(gpu::kGivenUp);
    stream_->synchronize();
    store_all(0);  // or the next step would take it for its own
}

}  // namespace greenroom::runtime
