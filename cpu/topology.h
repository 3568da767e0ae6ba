#pragma once

// What the machine's processors look like to this process, read through hwloc.

#include <string>
#include <thread>
#include <vector>

namespace greenroom::cpu {

struct Topology {
    int n_cores = 1;       // physical cores that this process may run on (affinity mask and cpuset respected)
    int n_threads = 1;     // hardware threads of those cores
    int cpu_quota = 0;     // whole CPUs that the control group grants, rounded up; 0: no limit
    std::string cpu_name;  // as its maker calls it; empty where the system does not say

    // The first hardware thread that this process may use of each of its cores, as the system numbers them:
    // fast cores before those that save energy, otherwise as they lie in the machine. Empty where hwloc
    // cannot tell.
    std::vector<int> core_cpus;
};

// Never fails: where hwloc cannot tell, what the C++ library knows.
Topology read_topology();

// One per physical core, within the control group's quota; at least 1. SMT siblings share the units that our
// kernels saturate. Slow cores are counted: work is handed out as threads become free, so they take as much
// of it as they can.
int default_thread_count(const Topology& topology);
int default_thread_count();

// From here on the thread runs on this hardware thread only, and so do threads that it creates later. False,
// and nothing changes, where the system refuses (a container may).
bool keep_on_cpu(std::thread& thread, int cpu) noexcept;

}  // namespace greenroom::cpu
