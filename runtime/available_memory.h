#pragma once

// What the machine can give: the memory that is free, within the limits of the process's control groups
// (containers, systemd's MemoryMax=).

#include <cstdint>
#include <string>

namespace greenroom::runtime {

// Bytes that can be had without swapping: what the kernel calls available (MemAvailable), or less where a
// cgroup leaves less. Of the process's own group and all above it the tightest counts: its limit (v2:
// memory.max and memory.high, v1: memory.limit_in_bytes) less what is used, to which file cache, mapped
// weights among it, adds nothing, since it can be dropped. INT64_MAX where the system does not say. Reads
// some files; for the start of things, not for the token's path.
std::int64_t available_memory_bytes();

// The same of a system whose /proc is `proc` and whose cgroup v2 is mounted at `cgroup` (v1: at
// cgroup/memory). In a container the own group is often the mount's root, and the path that the kernel names
// does not exist there: levels that do not exist are passed over, the root counts always.
std::int64_t available_memory_bytes(const std::string& proc, const std::string& cgroup);

}  // namespace greenroom::runtime
