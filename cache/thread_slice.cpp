#include "cache/thread_slice.h"

#include <sys/syscall.h>
#include <unistd.h>

namespace greenroom::cache {
namespace {

// sched_attr of sched_setattr(2), as far as all systems know it: <linux/sched/types.h> cannot stand beside
// older C libraries' <sched.h>.
struct SchedulingAttributes {
    std::uint32_t size = sizeof(SchedulingAttributes);
    std::uint32_t policy = 0;
    std::uint64_t flags = 0;
    std::int32_t nice = 0;
    std::uint32_t priority = 0;
    std::uint64_t runtime = 0;  // of a thread without a deadline: its slice
    std::uint64_t deadline = 0;
    std::uint64_t period = 0;
};

constexpr int kThisThread = 0;

// False where the system refuses.
bool read_attributes(SchedulingAttributes& attributes) noexcept {
    return ::syscall(SYS_sched_getattr, kThisThread, &attributes, sizeof attributes, 0) == 0;
}

}  // namespace

std::int64_t thread_slice_ns() noexcept {
    SchedulingAttributes attributes;
    return read_attributes(attributes) ? static_cast<std::int64_t>(attributes.runtime) : 0;
}

void prefer_short_slices() noexcept {
    constexpr std::uint64_t kShortestNs = 100'000;
    SchedulingAttributes attributes;
    if (!read_attributes(attributes)) return;
    attributes.runtime = kShortestNs;
    static_cast<void>(::syscall(SYS_sched_setattr, kThisThread, &attributes, 0));
}

}  // namespace greenroom::cache
