#include "cpu/read_bandwidth.h"

#include "cpu/isa.h"
#include "cpu/simd.h"

#include <algorithm>
#include <atomic>
#include <cstring>

namespace greenroom::cpu {
namespace {

constexpr std::size_t kStep = 128;
constexpr std::int64_t kPieceBytes = 1 << 20;

std::uint64_t read_scalar(std::span<const std::byte> bytes) noexcept {
    std::uint64_t all[kStep / 8] = {};
    for (std::size_t at = 0; at + kStep <= bytes.size(); at += kStep) {
        std::uint64_t words[kStep / 8];
        std::memcpy(words, bytes.data() + at, kStep);
        for (std::size_t i = 0; i < kStep / 8; ++i) all[i] ^= words[i];
    }
    std::uint64_t result = 0;
    for (const std::uint64_t word : all) result ^= word;
    return result;
}

GR_AVX2 std::uint64_t read_avx2(std::span<const std::byte> bytes) noexcept {
    __m256i all[4] = {};
    for (std::size_t at = 0; at + kStep <= bytes.size(); at += kStep)
        for (std::size_t i = 0; i < 4; ++i)
            all[i] = _mm256_xor_si256(
                all[i], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes.data() + at + 32 * i)));
    const __m256i one = _mm256_xor_si256(_mm256_xor_si256(all[0], all[1]), _mm256_xor_si256(all[2], all[3]));
    return static_cast<std::uint64_t>(_mm256_extract_epi64(one, 0) ^ _mm256_extract_epi64(one, 1) ^
                                      _mm256_extract_epi64(one, 2) ^ _mm256_extract_epi64(one, 3));
}

}  // namespace

std::uint64_t read_bytes(std::span<const std::byte> bytes) noexcept {
    static const bool has_avx2 = available_isas().size() > 1;
    return has_avx2 ? read_avx2(bytes) : read_scalar(bytes);
}

std::uint64_t read_bytes(ThreadTeam& team, std::span<const std::byte> bytes) {
    const auto n_bytes = static_cast<std::int64_t>(bytes.size());
    const std::int64_t n_pieces = (n_bytes + kPieceBytes - 1) / kPieceBytes;
    std::atomic<std::uint64_t> all{0};
    team.parallel_for(n_pieces, 1, [&](std::int64_t first, std::int64_t last, int) noexcept {
        const std::int64_t begin = first * kPieceBytes;
        const std::int64_t end = std::min(last * kPieceBytes, n_bytes);
        all.fetch_xor(
            read_bytes(bytes.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin))),
            std::memory_order_relaxed);
    });
    return all;
}

}  // namespace greenroom::cpu
