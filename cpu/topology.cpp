#include "cpu/topology.h"

#include <hwloc.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

namespace greenroom::cpu {
namespace {

// CPUs granted by cgroup v2 ("max 100000" or "200000 100000") or v1, rounded up; 0 where nothing limits.
int read_cpu_quota() {
    double quota = 0;
    double period = 0;
    if (std::ifstream v2("/sys/fs/cgroup/cpu.max"); v2) {
        std::string limit;
        if (!(v2 >> limit >> period) || limit == "max") return 0;
        try {
            quota = std::stod(limit);
        } catch (const std::exception&) {
            return 0;
        }
    } else {
        std::ifstream v1_quota("/sys/fs/cgroup/cpu/cpu.cfs_quota_us");
        std::ifstream v1_period("/sys/fs/cgroup/cpu/cpu.cfs_period_us");
        if (!(v1_quota >> quota) || !(v1_period >> period)) return 0;
    }
    if (quota <= 0 || period <= 0) return 0;
    return static_cast<int>((quota + period - 1) / period);
}

}  // namespace

Topology read_topology() {
    Topology result;
    result.n_threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    result.n_cores = result.n_threads;
    result.cpu_quota = read_cpu_quota();

    hwloc_topology_t topology = nullptr;
    if (hwloc_topology_init(&topology) != 0) return result;
    if (hwloc_topology_load(topology) == 0) {
        // A core counts if the process may run on any of its hardware threads.
        hwloc_cpuset_t allowed = hwloc_bitmap_alloc();
        if (hwloc_get_cpubind(topology, allowed, HWLOC_CPUBIND_PROCESS) != 0)
            hwloc_bitmap_copy(allowed, hwloc_topology_get_allowed_cpuset(topology));
        int n_cores = 0;
        for (hwloc_obj_t core = nullptr;
             (core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core)) != nullptr;)
            n_cores += hwloc_bitmap_intersects(core->cpuset, allowed);
        if (n_cores > 0) {
            result.n_cores = n_cores;
            result.n_threads = std::max(n_cores, hwloc_bitmap_weight(allowed));
        }
        hwloc_bitmap_free(allowed);
        if (const hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0))
            if (const char* name = hwloc_obj_get_info_by_name(package, "CPUModel")) result.cpu_name = name;
    }
    hwloc_topology_destroy(topology);
    return result;
}

int default_thread_count() {
    const Topology topology = read_topology();
    const int limit =
        topology.cpu_quota > 0 ? std::min(topology.n_cores, topology.cpu_quota) : topology.n_cores;
    return std::max(1, limit);
}

}  // namespace greenroom::cpu
