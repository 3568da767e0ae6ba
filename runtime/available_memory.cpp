#include "runtime/available_memory.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>

namespace greenroom::runtime {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

// A number in a file of its own; none if the file is missing or says "max".
std::optional<std::int64_t> read_number(const fs::path& path) {
    std::ifstream in(path);
    std::int64_t value = 0;
    if (in >> value) return value;
    return std::nullopt;
}

// The sum of "key N" lines such as those of memory.stat, over two keys.
std::int64_t read_keyed(const fs::path& path, std::string_view key, std::string_view other_key) {
    std::ifstream in(path);
    std::string name;
    std::int64_t value = 0;
    std::int64_t sum = 0;
    while (in >> name >> value)
        if (name == key || name == other_key) sum += value;
    return sum;
}

std::int64_t meminfo_available(const std::string& proc) {
    std::ifstream in(fs::path(proc) / "meminfo");
    std::string line;
    while (std::getline(in, line)) {
        std::istringstream words(line);
        std::string name;
        std::int64_t kib = 0;
        if (words >> name >> kib && name == "MemAvailable:") return kib * 1024;
    }
    return kUnlimited;
}

// Limit less use; what is file cache only is not in use.
std::int64_t left_of(std::int64_t limit, std::int64_t used, std::int64_t droppable) {
    return std::max<std::int64_t>(0, limit - std::max<std::int64_t>(0, used - droppable));
}

std::int64_t left_in_v2(const fs::path& group) {
    const std::int64_t limit = std::min(read_number(group / "memory.max").value_or(kUnlimited),
                                        read_number(group / "memory.high").value_or(kUnlimited));
    if (limit == kUnlimited) return kUnlimited;
    return left_of(limit, read_number(group / "memory.current").value_or(0),
                   read_keyed(group / "memory.stat", "inactive_file", "active_file"));
}

std::int64_t left_in_v1(const fs::path& group) {
    const std::int64_t limit = read_number(group / "memory.limit_in_bytes").value_or(kUnlimited);
    // "No limit" is the largest multiple of a page.
    if (limit > kUnlimited / 2) return kUnlimited;
    return left_of(limit, read_number(group / "memory.usage_in_bytes").value_or(0),
                   read_keyed(group / "memory.stat", "total_inactive_file", "total_active_file"));
}

struct OwnGroups {
    std::string v1;  // of the memory controller; "/a/b", or empty
    std::string v2;
};

// /proc/self/cgroup: lines "0::/path" (v2) and "N:controller,controller:/path" (v1); a path may hold colons.
OwnGroups own_groups(const std::string& proc) {
    OwnGroups groups;
    std::ifstream in(fs::path(proc) / "self" / "cgroup");
    std::string line;
    while (std::getline(in, line)) {
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        const std::string path = line.substr(second + 1);
        // Seen from another cgroup namespace: above the mount's root.
        if (path.find("/..") != std::string::npos) continue;
        if (controllers == ",,") groups.v2 = path;
        if (controllers.find(",memory,") != std::string::npos) groups.v1 = path;
    }
    return groups;
}

// The least that any group from `path` below the mount up to the mount itself leaves.
std::int64_t least_left(const fs::path& mount, const std::string& path,
                        std::int64_t (*left_in)(const fs::path&)) {
    std::int64_t least = left_in(mount);
    fs::path group = mount;
    for (const fs::path& name : fs::path(path).relative_path()) {
        group /= name;
        least = std::min(least, left_in(group));  // unlimited if there is no such folder
    }
    return least;
}

}  // namespace

std::int64_t available_memory_bytes() { return available_memory_bytes("/proc", "/sys/fs/cgroup"); }

std::int64_t available_memory_bytes(const std::string& proc, const std::string& cgroup) {
    const OwnGroups groups = own_groups(proc);
    return std::min({meminfo_available(proc), least_left(cgroup, groups.v2, left_in_v2),
                     least_left(fs::path(cgroup) / "memory", groups.v1, left_in_v1)});
}

}  // namespace greenroom::runtime
