#pragma once

// The slice of the calling thread: how long the system lets it run before others have their turn.

#include <cstdint>

namespace greenroom::cache {

// 0 where the system does not tell (before Linux 6.12).
std::int64_t thread_slice_ns() noexcept;

// For a thread that has little to do at a time, while others wait for it: asks for the shortest slice. A
// thread that wakes up with a shorter one than that of the thread on its core runs at once instead of
// waiting for that one's end, so that the disk is given its next read while all cores compute
// (sched_setattr(2)). Where the system has no such slices nothing changes.
void prefer_short_slices() noexcept;

}  // namespace greenroom::cache
