#pragma once

// What the machine's processors look like to this process, read through hwloc.

#include <string>

namespace greenroom::cpu {

struct Topology {
    int n_cores = 1;       // physical cores that this process may run on (affinity mask respected)
    int n_threads = 1;     // hardware threads of those cores
    int cpu_quota = 0;     // whole CPUs that the cgroup grants, rounded up; 0: no limit
    std::string cpu_name;  // as its maker calls it; empty where the system does not say
};

// Never fails: where hwloc cannot tell, what the C++ library knows.
Topology read_topology();

// One per physical core, within the cgroup's quota; at least 1. SMT siblings share the units that our kernels
// saturate.
int default_thread_count();

}  // namespace greenroom::cpu
