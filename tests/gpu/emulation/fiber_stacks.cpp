#include "tests/gpu/emulation/fiber_stacks.h"

#include <sys/mman.h>
#include <unistd.h>

#include <boost/context/detail/fcontext.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace greenroom::emulation {
namespace {

using boost::context::detail::fcontext_t;
using boost::context::detail::jump_fcontext;
using boost::context::detail::make_fcontext;
using boost::context::detail::transfer_t;

// Sanitizers need more of it.
constexpr std::size_t kStackBytes = 256 * 1024;
constexpr std::size_t kGuardBytes = 4096;
constexpr std::size_t kDynamicMemoryAlignment = 128;

// The fibers of this thread, for a fiber's first instructions, which get no argument of ours.
struct Start {
    FiberStacks::Body body = nullptr;
    void* data = nullptr;
};
thread_local Start start;
thread_local Fiber* came_from = nullptr;

void begin_switch(Fiber* from, const Fiber& to, bool forever) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(forever ? nullptr : &from->fake_stack, to.stack, to.stack_bytes);
#endif
#if defined(__SANITIZE_THREAD__)
    __tsan_switch_to_fiber(to.tsan_fiber, 0);
#endif
    came_from = from;
    static_cast<void>(to);
    static_cast<void>(forever);
}

// `self`: who is running now. Its predecessor's context came with the jump.
void end_switch(Fiber* self, transfer_t transfer) {
    came_from->context = transfer.fctx;
#if defined(__SANITIZE_ADDRESS__)
    const void* bottom = nullptr;
    std::size_t bytes = 0;
    __sanitizer_finish_switch_fiber(self == nullptr ? nullptr : self->fake_stack, &bottom, &bytes);
    if (came_from->stack == nullptr) {  // the thread's own stack, seen for the first time
        came_from->stack = static_cast<std::byte*>(const_cast<void*>(bottom));
        came_from->stack_bytes = bytes;
    }
#endif
    static_cast<void>(self);
}

void begin_fiber(transfer_t transfer) {
    end_switch(nullptr, transfer);
    start.body(start.data);
    std::abort();
}

std::byte* map_stack() {
    void* memory = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory, kGuardBytes, PROT_NONE) != 0) {
        std::perror("emulation: no memory for the stack of a lane");
        std::abort();
    }
    return static_cast<std::byte*>(memory) + kGuardBytes;
}

}  // namespace

FiberStacks::~FiberStacks() {
    abandon_all();
    for (const std::unique_ptr<Fiber>& fiber : fibers_) {
#if defined(__SANITIZE_THREAD__)
        __tsan_destroy_fiber(fiber->tsan_fiber);
#endif
        munmap(fiber->stack - kGuardBytes, kStackBytes + kGuardBytes);
    }
    dynamic_memory(0);
#if defined(__SANITIZE_ADDRESS__)
    if (dynamic_memory_) __asan_unpoison_memory_region(dynamic_memory_.get(), dynamic_bytes_);
#endif
}

Fiber& FiberStacks::take(Body body, void* data) {
    start = {body, data};
    if (free_.empty()) {
        Fiber& fiber = *fibers_.emplace_back(std::make_unique<Fiber>());
        fiber.stack = map_stack();
        fiber.stack_bytes = kStackBytes;
#if defined(__SANITIZE_THREAD__)
        fiber.tsan_fiber = __tsan_create_fiber(0);
#endif
        free_.push_back(&fiber);
    }
    Fiber& fiber = *free_.back();
    free_.pop_back();
    fiber.fake_stack = nullptr;
    fiber.context = make_fcontext(fiber.stack + fiber.stack_bytes, fiber.stack_bytes, begin_fiber);
    return fiber;
}

void FiberStacks::jump(Fiber* from, Fiber& to, bool forever) {
    running_ = &to;
#if defined(__SANITIZE_ADDRESS__)
    if (forever) {  // the frames on this stack will not return: they must not be found poisoned by whoever
                    // uses it next
        auto* const lowest = static_cast<std::byte*>(__builtin_frame_address(0)) - 1024;
        __asan_unpoison_memory_region(lowest,
                                      static_cast<std::size_t>(from->stack + from->stack_bytes - lowest));
    }
#endif
    begin_switch(from, to, forever);
    const transfer_t transfer = jump_fcontext(to.context, nullptr);
    end_switch(from, transfer);
}

void FiberStacks::enter(Fiber& fiber) {
#if defined(__SANITIZE_THREAD__)
    main_.tsan_fiber = __tsan_get_current_fiber();
#endif
    jump(&main_, fiber, false);
}

void FiberStacks::switch_to(Fiber& from, Fiber& to) { jump(&from, to, false); }

void FiberStacks::leave_to(Fiber& from, Fiber& to) {
    free_.push_back(&from);
    jump(&from, to, true);
    std::abort();
}

void FiberStacks::leave_to_main() {
    Fiber* from = running_;
    free_.push_back(from);
    jump(from, main_, true);
    std::abort();
}

void FiberStacks::abandon_all() {
    free_.clear();
    for (const std::unique_ptr<Fiber>& fiber : fibers_) {
#if defined(__SANITIZE_ADDRESS__)
        __asan_unpoison_memory_region(fiber->stack, fiber->stack_bytes);
#endif
        free_.push_back(fiber.get());
    }
}

unsigned char* FiberStacks::dynamic_memory(std::size_t bytes) {
    const auto aligned = [this] {
        const auto address = reinterpret_cast<std::uintptr_t>(dynamic_memory_.get());
        return dynamic_memory_.get() + (kDynamicMemoryAlignment - address % kDynamicMemoryAlignment);
    };
    if (!dynamic_memory_ || bytes + 2 * kDynamicMemoryAlignment > dynamic_bytes_) {
#if defined(__SANITIZE_ADDRESS__)
        if (dynamic_memory_) __asan_unpoison_memory_region(dynamic_memory_.get(), dynamic_bytes_);
#endif
        dynamic_bytes_ = bytes + 2 * kDynamicMemoryAlignment;
        dynamic_memory_ = std::make_unique<unsigned char[]>(dynamic_bytes_);
    }
    unsigned char* memory = aligned();
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(memory, bytes);
    __asan_poison_memory_region(
        memory + bytes, dynamic_bytes_ - bytes - static_cast<std::size_t>(memory - dynamic_memory_.get()));
#endif
    std::memset(memory, 0xff, bytes);
    return memory;
}

}  // namespace greenroom::emulation
