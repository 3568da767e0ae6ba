#include "tests/cache/patterned_file.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace greenroom::test {
namespace {

// splitmix64: neighbours and seeds give unrelated values.
std::uint64_t word_at(unsigned seed, std::uint64_t index) {
    std::uint64_t z = (index + 1) * 0x9e3779b97f4a7c15U + (std::uint64_t{seed} << 40);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

}  // namespace

void write_patterned_file(const std::string& path, unsigned seed, std::int64_t bytes) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    std::vector<char> buffer;
    for (std::int64_t at = 0; at < bytes; at += std::ssize(buffer)) {
        buffer.resize(static_cast<std::size_t>(std::min<std::int64_t>(1 << 20, bytes - at)));
        for (std::size_t i = 0; i < buffer.size(); ++i)
            buffer[i] =
                static_cast<char>(word_at(seed, (static_cast<std::uint64_t>(at) + i) / 8) >> (i % 8 * 8));
        out.write(buffer.data(), std::ssize(buffer));
    }
    out.close();
    if (!out) throw std::runtime_error("cannot write " + path);
}

std::optional<std::int64_t> first_difference(unsigned seed, const cache::Copy& copy) {
    std::uint64_t word = 0;
    for (std::int64_t i = 0; i < copy.from.bytes; ++i) {
        const auto at = static_cast<std::uint64_t>(copy.from.offset + i);
        if (i == 0 || at % 8 == 0) word = word_at(seed, at / 8);
        if (copy.to[i] != static_cast<std::byte>(word >> (at % 8 * 8))) return i;
    }
    return std::nullopt;
}

bool holds_only(std::span<const std::byte> memory, std::byte value) {
    return memory.empty() ||
           (memory[0] == value && std::memcmp(memory.data(), memory.data() + 1, memory.size() - 1) == 0);
}

AlignedMemory::AlignedMemory(std::int64_t bytes) : bytes_((bytes + 0xffff) / 0x10000 * 0x10000) {
    data_.reset(static_cast<std::byte*>(std::aligned_alloc(0x10000, static_cast<std::size_t>(bytes_))));
    if (data_ == nullptr) throw std::bad_alloc();
    std::fill_n(data_.get(), bytes_, std::byte{0});
}

std::vector<ReadWay> all_read_ways() {
    return {{cache::ReadBackend::uring, cache::ReadAccess::direct},
            {cache::ReadBackend::uring, cache::ReadAccess::buffered},
            {cache::ReadBackend::pread, cache::ReadAccess::direct},
            {cache::ReadBackend::pread, cache::ReadAccess::buffered}};
}

std::string name_of(const ReadWay& way) {
    return std::string(way.backend == cache::ReadBackend::uring ? "Uring" : "Pread") +
           (way.access == cache::ReadAccess::direct ? "Direct" : "Buffered");
}

std::optional<std::string> cannot_read(const std::string& path, const ReadWay& way) {
    try {
        const cache::SsdReader reader({&path, 1}, way.options());
    } catch (const Error& error) {
        if (error.kind() == ErrorKind::unsupported) return error.what();
        throw;
    }
    return std::nullopt;
}

std::vector<cache::Completion> wait_for(cache::Mover& mover, std::size_t n) {
    std::vector<cache::Completion> all;
    while (all.size() < n) {
        std::vector<cache::Completion> some(n - all.size());
        const std::size_t n_some = mover.wait(some, std::chrono::seconds(60));
        if (n_some == 0) break;
        std::move(some.begin(), some.begin() + static_cast<std::ptrdiff_t>(n_some), std::back_inserter(all));
    }
    return all;
}

}  // namespace greenroom::test
