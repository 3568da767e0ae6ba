#pragma once

// How fast memory is read: what kernels bound by memory are measured against.

#include "cpu/parallel.h"

#include <cstddef>
#include <cstdint>
#include <span>

namespace greenroom::cpu {

// Reads all bytes once, 128 at a time (what is left over is not read), and returns a value that depends on
// each of them. Not slower than memory on any CPU with AVX2; elsewhere as fast as the compiler makes it.
std::uint64_t read_bytes(std::span<const std::byte> bytes) noexcept;

// Reads all bytes once with all threads of the team, in pieces of 1 MiB, and returns a value that depends on
// them.
std::uint64_t read_bytes(ThreadTeam& team, std::span<const std::byte> bytes);

}  // namespace greenroom::cpu
