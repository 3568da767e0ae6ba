#include "cpu/cpu_quota.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <limits>
#include <sstream>
#include <string_view>

namespace greenroom::cpu {
namespace {

// "max", and -1 in version 1, are no limits.
int rounded_up(std::string_view quota, std::string_view period) {
    double quota_us = 0;
    double period_us = 0;
    const auto parse = [](std::string_view text, double& value) {
        return std::from_chars(text.data(), text.data() + text.size(), value).ec == std::errc{};
    };
    if (!parse(quota, quota_us) || !parse(period, period_us) || quota_us <= 0 || period_us <= 0) return 0;
    const double cpus = std::ceil(quota_us / period_us);
    return cpus < std::numeric_limits<int>::max() ? static_cast<int>(cpus) : 0;
}

std::string first_word(const std::optional<std::string>& text) {
    std::string word;
    if (text) std::istringstream(*text) >> word;
    return word;
}

// "200000 100000" or "max 100000".
int quota_v2(const ReadTextFn& read, const std::string& folder) {
    const std::optional<std::string> text = read(folder + "/cpu.max");
    if (!text) return 0;
    std::istringstream words(*text);
    std::string quota;
    std::string period;
    words >> quota >> period;
    return rounded_up(quota, period);
}

int quota_v1(const ReadTextFn& read, const std::string& folder) {
    return rounded_up(first_word(read(folder + "/cpu.cfs_quota_us")),
                      first_word(read(folder + "/cpu.cfs_period_us")));
}

bool lists_cpu(std::string_view controllers) {
    std::istringstream names{std::string(controllers)};
    for (std::string name; std::getline(names, name, ',');)
        if (name == "cpu") return true;
    return false;
}

}  // namespace

int cpu_quota(const ReadTextFn& read) {
    int least = 0;
    const auto consider = [&least](int quota) {
        if (quota > 0) least = least == 0 ? quota : std::min(least, quota);
    };
    // Lines of ID:CONTROLLERS:PATH; version 2 has no controllers. Seen from a container, the path may lead to
    // nowhere; the groups above it, up to the root, are looked at all the same.
    std::istringstream lines(read("/proc/self/cgroup").value_or("0::/\n"));
    for (std::string line; std::getline(lines, line);) {
        const std::size_t first = line.find(':');
        const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const bool is_v2 = controllers.empty();
        if (!is_v2 && !lists_cpu(controllers)) continue;
        std::string path = line.substr(second + 1);
        for (;;) {
            while (!path.empty() && path.back() == '/') path.pop_back();
            if (is_v2) {
                consider(quota_v2(read, "/sys/fs/cgroup" + path));
                // Where both versions are in use.
                consider(quota_v2(read, "/sys/fs/cgroup/unified" + path));
            } else {
                consider(quota_v1(read, "/sys/fs/cgroup/cpu" + path));
            }
            if (path.empty()) break;
            path.erase(path.find_last_of('/') == std::string::npos ? 0 : path.find_last_of('/'));
        }
    }
    return least;
}

int read_cpu_quota() {
    return cpu_quota([](const std::string& path) -> std::optional<std::string> {
        std::ifstream file(path);
        if (!file) return std::nullopt;
        return std::string(std::istreambuf_iterator<char>(file), {});
    });
}

}  // namespace greenroom::cpu
