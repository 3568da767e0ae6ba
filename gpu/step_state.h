#pragma once

// What changes from one decode step to the next. It lies in device memory, because a captured graph replays
// its launches with the arguments of the capture: kernels that need these values read them from here. The
// host copies a fresh one into the stream before it launches the step.

#include <cstdint>

namespace greenroom::gpu {

struct StepState {
    std::int32_t first_position = 0;  // of the batch's first token in its sequence
    std::uint32_t step = 0;           // counts forward passes; flags between host and device carry it
};

}  // namespace greenroom::gpu
