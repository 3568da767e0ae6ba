#pragma once

// Counts the calls of operator new in a test program that links allocation_counter.cpp, which replaces it.

#include <cstdint>

namespace greenroom::test {

std::int64_t allocation_count() noexcept;

}  // namespace greenroom::test
