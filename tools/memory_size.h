#pragma once

// Amounts of memory on the command line: in bytes, or as a share of what is free.

#include <cstdint>
#include <string>

namespace greenroom::tools {

struct MemorySize {
    std::int64_t bytes = 0;
    double percent = 0;  // of what is free; 0: bytes says it

    bool is_given() const noexcept { return bytes > 0 || percent > 0; }

    // In bytes, where free_bytes are free: never more than these for a share. 0 if nothing was given.
    std::int64_t of(std::int64_t free_bytes) const noexcept;
};

// What parse_memory_size() reads, for the help of a flag.
inline constexpr const char* kMemorySizeHelp =
    "bytes, with K, M, G, T (or KiB…) for powers of 1024 and KB… for powers of 1000; or a share of what is "
    "free, as in 50%";

// Reads "1500000000", "512M", "8G", "8GiB" (the same), "8GB" (8 · 10^9), "1.5GiB" or "50%", capitals or not.
// Anything else (nothing at all, 0, more than 100 %, 2^63 bytes or more) is bad usage of `flag`. Fractions
// of a byte are dropped.
MemorySize parse_memory_size(const std::string& flag, const std::string& text);

}  // namespace greenroom::tools
