#pragma once

// Stacks and contexts for the lanes of one block: made once, reused for every block that this thread runs.

#include <cstddef>
#include <memory>
#include <vector>

namespace greenroom::emulation {

struct Fiber {
    void* context = nullptr;  // where it goes on
    std::byte* stack = nullptr;
    std::size_t stack_bytes = 0;
    void* fake_stack = nullptr;  // AddressSanitizer's
    void* tsan_fiber = nullptr;  // ThreadSanitizer's
};

class FiberStacks {
  public:
    using Body = void (*)(void* data);

    FiberStacks() = default;
    ~FiberStacks();
    FiberStacks(const FiberStacks&) = delete;
    FiberStacks& operator=(const FiberStacks&) = delete;

    // A fiber that will run body(data), which leaves it by leave_to() or leave_to_main() and never returns.
    Fiber& take(Body body, void* data);

    // From the thread's own stack; returns when a fiber leaves to main.
    void enter(Fiber& fiber);
    void switch_to(Fiber& from, Fiber& to);
    // The fiber is free again.
    [[noreturn]] void leave_to(Fiber& from, Fiber& to);
    // Frees the running fiber only if no fault is being handled; see abandon_all().
    [[noreturn]] void leave_to_main();
    // From main: whatever the fibers were doing is dropped, and all are free.
    void abandon_all();

    // Exactly this many bytes, filled with NaN; what lies behind is out of bounds for AddressSanitizer.
    unsigned char* dynamic_memory(std::size_t bytes);

  private:
    void jump(Fiber* from, Fiber& to, bool forever);

    std::vector<std::unique_ptr<Fiber>> fibers_;
    std::vector<Fiber*> free_;
    Fiber main_;
    Fiber* running_ = nullptr;
    std::unique_ptr<unsigned char[]> dynamic_memory_;
    std::size_t dynamic_bytes_ = 0;
};

}  // namespace greenroom::emulation
