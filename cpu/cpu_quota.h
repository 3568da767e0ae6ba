#pragma once

// What a control group (a container, a unit of systemd, a batch job) grants a process of the processors'
// time.

#include <functional>
#include <optional>
#include <string>

namespace greenroom::cpu {

// The text of a file, or nothing where there is no such file.
using ReadTextFn = std::function<std::optional<std::string>(const std::string& path)>;

// Whole CPUs that the process's control groups grant, rounded up: the least of its own and those above it. 0
// where nothing limits. Knows versions 1 and 2; what it cannot make sense of limits nothing.
int cpu_quota(const ReadTextFn& read);

// This process's.
int read_cpu_quota();

}  // namespace greenroom::cpu
