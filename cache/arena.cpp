#include "cache/arena.h"

#include "quant/base/error.h"

#include <hwloc.h>
#include <linux/mman.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <system_error>

namespace greenroom::cache {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

std::string system_message(int error_number) { return std::generic_category().message(error_number); }

[[noreturn]] void refuse(std::int64_t bytes, int error_number) {
    fail(ErrorKind::out_of_memory, "expert slots: cannot get {} bytes of memory: {}. Give the cache less",
         bytes, system_message(error_number));
}

struct DestroyTopology {
    void operator()(hwloc_topology_t topology) const noexcept { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<hwloc_topology, DestroyTopology>;

Topology load_topology() {
    hwloc_topology_t topology = nullptr;
    if (hwloc_topology_init(&topology) != 0) return nullptr;
    Topology owner(topology);
    return hwloc_topology_load(topology) == 0 ? std::move(owner) : nullptr;
}

}  // namespace

Arena::Arena(std::int64_t bytes, const ArenaOptions& options) : bytes_(bytes) {
    GR_CHECK(bytes > 0);
    if (bytes > std::numeric_limits<std::int64_t>::max() / 2) refuse(bytes, ENOMEM);
    mapped_bytes_ = (static_cast<std::size_t>(bytes) + kHugePage - 1) / kHugePage * kHugePage;
    try {
        if (options.pages == ArenaPages::automatic) map_from_pool(options);
        if (data_ == nullptr) map(options);
    } catch (...) {
        unmap();
        throw;
    }
}

Arena::~Arena() { unmap(); }

// Leaves data_ null when there are not enough pages in the pool. Populated here because a cgroup's limit on
// them shows when they are first used, as a signal that ends the process; populate() gets an error instead.
void Arena::map_from_pool(const ArenaOptions& options) {
    void* memory = ::mmap(nullptr, mapped_bytes_, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB, -1, 0);
    if (memory == MAP_FAILED) return;
    data_ = static_cast<std::byte*>(memory);
    place(options.numa_node);
    if (populate())
        pages_ = "huge pages of the system's pool";
    else
        unmap();
}

void Arena::map(const ArenaOptions& options) {
    // A huge page more, to begin where one begins.
    void* memory = ::mmap(nullptr, mapped_bytes_ + kHugePage, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) refuse(bytes_, errno);
    auto* begin = static_cast<std::byte*>(memory);
    const std::size_t before = (kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage) % kHugePage;
    if (before > 0) ::munmap(begin, before);
    data_ = begin + before;
    ::munmap(data_ + mapped_bytes_, kHugePage - before);

    pages_ = "normal pages";
    if (options.pages == ArenaPages::normal) {
        ::madvise(data_, mapped_bytes_, MADV_NOHUGEPAGE);
    } else if (::madvise(data_, mapped_bytes_, MADV_HUGEPAGE) == 0) {
        pages_ = "transparent huge pages";
    } else {
        const int error = errno;
        pages_ += fmt::format(" (no transparent huge ones: {})", system_message(error));
    }
    place(options.numa_node);
    if (options.commit == ArenaCommit::at_once && !populate()) refuse(bytes_, ENOMEM);
}

void Arena::place(int numa_node) {
    placement_.clear();
    if (numa_node == ArenaOptions::kLocal) return;
    const Topology topology = load_topology();
    if (topology == nullptr) return;
    const int n_nodes = hwloc_get_nbobjs_by_type(topology.get(), HWLOC_OBJ_NUMANODE);
    hwloc_const_nodeset_t nodes = hwloc_topology_get_allowed_nodeset(topology.get());
    hwloc_membind_policy_t policy = HWLOC_MEMBIND_INTERLEAVE;
    if (numa_node == ArenaOptions::kInterleave) {
        const int n_allowed = hwloc_bitmap_weight(nodes);
        if (n_allowed <= 1) return;
        placement_ = fmt::format(", interleaved over {} NUMA nodes", n_allowed);
    } else {
        hwloc_obj_t node = nullptr;
        if (numa_node >= 0)
            node = hwloc_get_numanode_obj_by_os_index(topology.get(), static_cast<unsigned>(numa_node));
        if (node == nullptr)
            fail(ErrorKind::bad_input, "NUMA node {}: this machine has {}", numa_node, n_nodes);
        nodes = node->nodeset;
        policy = HWLOC_MEMBIND_BIND;
        placement_ = fmt::format(", on NUMA node {}", numa_node);
    }
    if (hwloc_set_area_membind(topology.get(), data_, mapped_bytes_, nodes, policy,
                               HWLOC_MEMBIND_BYNODESET) != 0) {
        const int error = errno;
        placement_ = fmt::format(", on any NUMA node ({})", system_message(error));
    }
}

// Commits all of it. False when there is not so much.
bool Arena::populate() noexcept {
#ifdef MADV_POPULATE_WRITE  // Linux 5.14
    int result = 0;
    do {
        result = ::madvise(data_, mapped_bytes_, MADV_POPULATE_WRITE);
    } while (result != 0 && errno == EINTR);
    if (result == 0) return true;
    if (errno != EINVAL) return false;
#endif
    const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    for (std::size_t at = 0; at < mapped_bytes_; at += page)
        static_cast<volatile std::byte*>(data_)[at] = std::byte{0};
    return true;
}

void Arena::unmap() noexcept {
    if (data_ != nullptr) ::munmap(data_, mapped_bytes_);
    data_ = nullptr;
}

std::string Arena::describe() const { return pages_ + placement_; }

}  // namespace greenroom::cache
