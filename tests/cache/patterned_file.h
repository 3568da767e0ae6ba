#pragma once

// Files in which every byte tells where it lies, and what tests of readers need beside them.

#include "cache/mover.h"
#include "cache/ssd_reader.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace greenroom::test {

// The byte at an offset depends on it and on the seed.
void write_patterned_file(const std::string& path, unsigned seed, std::int64_t bytes);

// The first byte of the range's destination that is not what the file has there: its offset in the range.
// Empty if all are right.
std::optional<std::int64_t> first_difference(unsigned seed, const cache::Copy& copy);

bool holds_only(std::span<const std::byte> memory, std::byte value);

// 0 to n - 1.
inline std::int64_t random_below(std::mt19937& random, std::int64_t n) {
    return static_cast<std::int64_t>(random()) % n;
}

// Zeroed memory that begins at a multiple of 64 KiB.
class AlignedMemory {
  public:
    explicit AlignedMemory(std::int64_t bytes);
    std::byte* data() const noexcept { return data_.get(); }
    std::int64_t bytes() const noexcept { return bytes_; }
    std::span<std::byte> all() const noexcept { return {data(), static_cast<std::size_t>(bytes_)}; }

  private:
    struct Free {
        void operator()(std::byte* memory) const noexcept { std::free(memory); }
    };
    std::int64_t bytes_;
    std::unique_ptr<std::byte, Free> data_;
};

// A way of reading that the tests go through.
struct ReadWay {
    cache::ReadBackend backend;
    cache::ReadAccess access;

    cache::ReaderOptions options() const {
        cache::ReaderOptions result;
        result.backend = backend;
        result.access = access;
        return result;
    }
};

std::vector<ReadWay> all_read_ways();
std::string name_of(const ReadWay& way);
inline std::ostream& operator<<(std::ostream& out, const ReadWay& way) { return out << name_of(way); }

// Why this machine cannot read the file in this way; empty if it can.
std::optional<std::string> cannot_read(const std::string& path, const ReadWay& way);

// Fetches completions until there are n, or nothing more comes.
std::vector<cache::Completion> wait_for(cache::Mover& mover, std::size_t n);

}  // namespace greenroom::test
