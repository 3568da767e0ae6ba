#pragma once

// HandOver: how the GPU tells the CPU of the calls of a step's MoE layers, and the CPU answers, while both
// are at work and without a call of the driver: memory of the host that both see, and flags in it.
//
//     GPU    split_calls(), tell_missed() ▶ raise a flag ..... wait_and_add(): waits for the answer's flag
//     CPU    wait_for_calls(), wait_for_guess() ▶ compute into sum() ▶ answer()
//
// A flag is raised by storing the step's number in it (gpu::StepState), so that none has to be lowered
// before it is used again. Each MoE layer has a turn, with memory of its own: what the GPU has told stays as
// it is until the next step is given to the stream, which is when this one has ended.
//
// Used by one thread. Everything is reserved by the constructor.

#include "gpu/kernels/calls.h"
#include "gpu/memory.h"
#include "gpu/stream.h"
#include "quant/base/matrix_view.h"

#include <atomic>
#include <cstdint>
#include <span>

namespace greenroom::runtime {

// For steps of one token.
struct HandOverSize {
    int n_turns = 0;
    int n_calls = 0;          // of a turn, at most
    std::int64_t n_cols = 0;  // of what experts are given, and of what they give
    int n_guesses = 0;        // of later turns' calls, told in a turn, at most
};

class HandOver {
  public:
    explicit HandOver(const HandOverSize& size);

    // ---- Of a turn, for what is enqueued.

    gpu::HostCalls calls(int turn) const noexcept;
    struct Guess {
        std::int32_t* missed;  // as of HostCalls
        std::uint32_t* ready;
    };
    Guess guess(int turn, int number) const noexcept;
    MatrixView sum(int turn) const noexcept;  // [1, n_cols]: written by the host before it answers
    const std::uint32_t* answer_flag(int turn) const noexcept;

    // ---- For the host.

    // The stream has been given the step of this number, all of it.
    void begin(gpu::Stream& stream, std::uint32_t step) noexcept;

    // Return when the GPU has told. False: *cancelled (may be null) was found set before. Error{device} when
    // the stream has failed, or has ended without telling, or does not go on.
    bool wait_for_calls(int turn, const std::atomic<bool>* cancelled) const;
    void wait_for_guess(int turn, int number) const;

    // The sum is there. Not needed where no call has missed.
    void answer(int turn) noexcept;

    // There will be no more answers from this turn on: the stream adds nothing for them. Returns when it has
    // ended; what the step has computed is of no use. Error{device} when it has failed.
    void give_up(int first_turn);

  private:
    std::byte* at(int turn, std::int64_t offset) const noexcept;
    std::uint32_t* flag(int turn, int number) const noexcept;
    bool wait(std::uint32_t* flag, int turn, const std::atomic<bool>* cancelled) const;

    HandOverSize size_;
    // Of what a turn has, and all of it. Bytes.
    std::int64_t calls_at_ = 0;
    std::int64_t guesses_at_ = 0;
    std::int64_t x_at_ = 0;
    std::int64_t sum_at_ = 0;
    std::int64_t turn_bytes_ = 0;
    gpu::PinnedBuffer memory_;

    gpu::Stream* stream_ = nullptr;
    std::uint32_t step_ = 0;
};

}  // namespace greenroom::runtime
