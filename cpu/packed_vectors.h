#pragma once

// Quantized vectors beside each other, for kernels that multiply many of them at once
// (QuantDot::dot_packed): the blocks of 16 vectors (quantize.h), turned around.

#include "cpu/quantize.h"

#include <cstdint>

namespace greenroom::cpu {

// 256 values of 16 vectors: the words of 32 bits of their blocks, word i of each beside each other.
struct alignas(64) PackedVectors {
    static constexpr int kVectors = 16;
    static constexpr int kWords = sizeof(ActivationBlock) / 4;
    std::int32_t words[kWords][kVectors];

    // Four values of each vector in a row: quads 0 … 63.
    const std::int32_t (*quads(int plane) const noexcept)[kVectors] { return words + kWordsOfPlane * plane; }
    // Pairs of sums over 16 values, or over 32.
    const std::int32_t (*sums(int plane) const noexcept)[kVectors] {
        return words + kPlaneWords + kWordsOfSums * plane;
    }
    const std::int32_t (*wide_sums(int plane) const noexcept)[kVectors] {
        return words + kPlaneWords + 2 * kWordsOfSums + kWordsOfSums / 2 * plane;
    }
    // Floats.
    const std::int32_t* scales() const noexcept { return words[kPlaneWords + 3 * kWordsOfSums]; }

  private:
    static constexpr int kWordsOfPlane = ActivationBlock::kValues / 4;
    static constexpr int kPlaneWords = ActivationBlock::kPlanes * kWordsOfPlane;
    static constexpr int kWordsOfSums = ActivationBlock::kGroups / 2;
};

constexpr int packed_groups(int n_vectors) noexcept {
    return (n_vectors + PackedVectors::kVectors - 1) / PackedVectors::kVectors;
}

// Of chunk c of group g: packed[c · packed_groups(n_vectors) + g]. Vectors that are not there are zero. The
// low plane is packed where `planes` has it, and of the last chunk's values no more than 63 that vectors do
// not have.
void pack_vectors_avx512(const ActivationBlock* const* x, int n_vectors, Planes planes, std::int64_t n_values,
                         PackedVectors* packed) noexcept;

}  // namespace greenroom::cpu
