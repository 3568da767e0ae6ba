#pragma once

// IdleFiller: has the RAM slots that nobody has used filled with experts while nobody evaluates, for a
// program that waits for its user: what is said next finds them there. While something is evaluated the
// scheduler does it by itself.
//
// Works on a thread of its own from construction until nothing is left to fill or it is destroyed. It takes
// the engine's evaluation_mutex() only where nobody has it, and gives it back without waiting for a read.
// A read that fails leaves the slot to whoever calls the expert.

#include <thread>

namespace greenroom::runtime {

class Engine;

class IdleFiller {
  public:
    // engine, with its weights loaded, must outlive it.
    explicit IdleFiller(const Engine& engine);

  private:
    std::jthread thread_;
};

}  // namespace greenroom::runtime
