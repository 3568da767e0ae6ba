#include "cpu/topology.h"

#include "cpu/cpu_quota.h"

#include <hwloc.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace greenroom::cpu {
namespace {

struct DestroyTopology {
    void operator()(hwloc_topology_t topology) const noexcept { hwloc_topology_destroy(topology); }
};

struct FreeBitmap {
    void operator()(hwloc_bitmap_t bitmap) const noexcept { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, FreeBitmap>;

// hwloc numbers the kinds of cores from the slowest on; -1 where it does not know.
int speed_rank(hwloc_topology_t topology, hwloc_const_cpuset_t core) {
    return hwloc_cpukinds_get_by_cpuset(topology, core, 0);
}

}  // namespace

Topology read_topology() {
    Topology result;
    result.n_threads = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
    result.n_cores = result.n_threads;
    result.cpu_quota = read_cpu_quota();

    hwloc_topology_t handle = nullptr;
    if (hwloc_topology_init(&handle) != 0) return result;
    const std::unique_ptr<hwloc_topology, DestroyTopology> topology(handle);
    if (hwloc_topology_load(handle) != 0) return result;

    const Bitmap allowed(hwloc_bitmap_alloc());
    if (hwloc_get_cpubind(handle, allowed.get(), HWLOC_CPUBIND_PROCESS) != 0)
        hwloc_bitmap_copy(allowed.get(), hwloc_topology_get_allowed_cpuset(handle));
    // A core counts if the process may run on any of its hardware threads.
    std::vector<std::pair<int, int>> cores;  // rank, hardware thread
    const Bitmap usable(hwloc_bitmap_alloc());
    for (hwloc_obj_t core = nullptr;
         (core = hwloc_get_next_obj_by_type(handle, HWLOC_OBJ_CORE, core)) != nullptr;) {
        hwloc_bitmap_and(usable.get(), core->cpuset, allowed.get());
        const int cpu = hwloc_bitmap_first(usable.get());
        if (cpu >= 0) cores.emplace_back(speed_rank(handle, core->cpuset), cpu);
    }
    std::stable_sort(cores.begin(), cores.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    for (const auto& [rank, cpu] : cores) result.core_cpus.push_back(cpu);
    if (!cores.empty()) {
        result.n_cores = static_cast<int>(cores.size());
        result.n_threads = std::max(result.n_cores, hwloc_bitmap_weight(allowed.get()));
    }
    if (const hwloc_obj_t package = hwloc_get_obj_by_type(handle, HWLOC_OBJ_PACKAGE, 0))
        if (const char* name = hwloc_obj_get_info_by_name(package, "CPUModel")) result.cpu_name = name;
    return result;
}

int default_thread_count(const Topology& topology) {
    const int limit =
        topology.cpu_quota > 0 ? std::min(topology.n_cores, topology.cpu_quota) : topology.n_cores;
    return std::max(1, limit);
}

int default_thread_count() { return default_thread_count(read_topology()); }

bool keep_on_cpu(std::thread& thread, int cpu) noexcept {
    struct FreeSet {
        void operator()(cpu_set_t* set) const noexcept { CPU_FREE(set); }
    };
    if (cpu < 0) return false;
    const auto index = static_cast<std::size_t>(cpu);
    const std::unique_ptr<cpu_set_t, FreeSet> set(CPU_ALLOC(index + 1));
    if (set == nullptr) return false;
    const std::size_t bytes = CPU_ALLOC_SIZE(index + 1);
    CPU_ZERO_S(bytes, set.get());
    CPU_SET_S(index, bytes, set.get());
    return ::pthread_setaffinity_np(thread.native_handle(), bytes, set.get()) == 0;
}

}  // namespace greenroom::cpu
