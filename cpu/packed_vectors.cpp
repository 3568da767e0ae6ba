#include "cpu/packed_vectors.h"

#include "cpu/transpose_simd.h"

#include <algorithm>
#include <cstddef>

namespace greenroom::cpu {
namespace {

constexpr int kLine = 64;
constexpr int kWordsOfLine = kLine / 4;
constexpr int kLinesOfPlane = ActivationBlock::kValues / kLine;

// What sums, wide_sums and scales() say of the words of a block.
static_assert(offsetof(ActivationBlock, sums) == std::size_t{2} * kLinesOfPlane * kLine);
static_assert(offsetof(ActivationBlock, wide_sums) == offsetof(ActivationBlock, sums) + 64);
static_assert(offsetof(ActivationBlock, scale) == offsetof(ActivationBlock, wide_sums) + 32);

GR_AVX512 void pack_lines(const ActivationBlock* const* blocks, int first, int last,
                          PackedVectors& packed) noexcept {
    for (int line = first; line < last; ++line) {
        __m512i v[PackedVectors::kVectors];
        GR_UNROLL
        for (int j = 0; j < PackedVectors::kVectors; ++j)
            v[j] = _mm512_load_si512(reinterpret_cast<const std::byte*>(blocks[j]) + line * kLine);
        transpose_avx512(v);
        GR_UNROLL
        for (int i = 0; i < kWordsOfLine; ++i)
            _mm512_store_si512(packed.words[line * kWordsOfLine + i], v[i]);
    }
}

}  // namespace

void pack_vectors_avx512(const ActivationBlock* const* x, int n_vectors, Planes planes, std::int64_t n_values,
                         PackedVectors* packed) noexcept {
    static constexpr ActivationBlock kZero{};
    constexpr int kLines = sizeof(ActivationBlock) / kLine;
    const int n_groups = packed_groups(n_vectors);
    for (std::int64_t c = 0; c < activation_blocks(n_values); ++c) {
        const std::int64_t n_left = n_values - c * ActivationBlock::kValues;
        const auto n_lines =
            static_cast<int>(std::min<std::int64_t>(kLinesOfPlane, (n_left + kLine - 1) / kLine));
        for (int g = 0; g < n_groups; ++g, ++packed) {
            const ActivationBlock* blocks[PackedVectors::kVectors];
            for (int j = 0; j < PackedVectors::kVectors; ++j) {
                const int of_all = PackedVectors::kVectors * g + j;
                blocks[j] = of_all < n_vectors ? x[of_all] + c : &kZero;
            }
            pack_lines(blocks, 0, n_lines, *packed);
            if (planes == Planes::both) pack_lines(blocks, kLinesOfPlane, kLinesOfPlane + n_lines, *packed);
            pack_lines(blocks, 2 * kLinesOfPlane, kLines, *packed);
        }
    }
}

}  // namespace greenroom::cpu
