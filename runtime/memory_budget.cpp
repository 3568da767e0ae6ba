#include "runtime/memory_budget.h"

#include "quant/base/error.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace greenroom::runtime {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

// For the rest of the machine: page cache, the desktop, what programs take a moment later.
std::int64_t reserve_of(std::int64_t available_bytes) {
    constexpr std::int64_t kLeast = 256 * kMiB;
    return std::min(available_bytes / 4, kLeast + available_bytes / 20);
}

std::string size_text(std::int64_t bytes) {
    if (bytes < 1024) return fmt::format("{} B", bytes);
    const auto mib = static_cast<double>(bytes) / static_cast<double>(kMiB);
    return mib < 1024 ? fmt::format("{:.1f} MiB", mib) : fmt::format("{:.2f} GiB", mib / 1024);
}

std::string parts_text(const MemoryNeeds& needs) {
    if (needs.least() == needs.program + needs.staging)
        return fmt::format("{} for weights on their way to the GPU, {} for the program itself",
                           size_text(needs.staging), size_text(needs.program));
    return fmt::format(
        "{} for the weights that every token needs, {} for the context, {} for experts, {} for the "
        "program itself",
        size_text(needs.resident), size_text(needs.sessions), size_text(needs.least_experts),
        size_text(needs.program));
}

// What to ask for. The program itself does not take exactly the same every time.
std::int64_t least_mib(const MemoryNeeds& needs) { return (needs.least() + kMiB) / kMiB + 1; }

}  // namespace

MemoryBudget share_out_memory(const std::string& path, const MemoryNeeds& needs, std::int64_t ram_bytes,
                              std::int64_t available_bytes) {
    const std::int64_t most = needs.program + available_bytes;
    if (ram_bytes > most)
        fail(ErrorKind::out_of_memory, "--ram: {} asked for, {} can be had. Use --ram {}MiB or less",
             size_text(ram_bytes), size_text(most), most >> 20);
    const std::int64_t total = ram_bytes > 0 ? ram_bytes : most - reserve_of(available_bytes);
    if (needs.least() > total)
        fail(ErrorKind::out_of_memory,
             "{}: needs at least {} of memory: {}; {} is what {}. Use {}a smaller context (-c) or batch "
             "(-b), or a "
             "smaller file",
             path, size_text(needs.least()), parts_text(needs), size_text(total),
             ram_bytes > 0 ? "--ram allows" : "is free, less a reserve",
             ram_bytes > 0 ? fmt::format("--ram {}MiB, ", least_mib(needs)) : "");
    const std::int64_t rest = total - needs.program - needs.resident - needs.sessions;
    MemoryBudget budget;
    budget.total = total;
    budget.experts = std::min(rest, needs.most_experts);
    budget.sessions = needs.sessions + rest - budget.experts;
    return budget;
}

std::int64_t resident_set_bytes() {
    std::ifstream in("/proc/self/statm");
    std::int64_t size = 0;
    std::int64_t resident = 0;
    return in >> size >> resident ? resident * ::sysconf(_SC_PAGESIZE) : 0;
}

std::int64_t peak_resident_set_bytes() {
    struct rusage usage {};
    return ::getrusage(RUSAGE_SELF, &usage) == 0 ? std::int64_t{usage.ru_maxrss} * 1024 : 0;
}

}  // namespace greenroom::runtime
