#include "cpu/indexer.h"

#include "cpu/attention_tile.h"
#include "cpu/kernels.h"
#include "cpu/simd.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <functional>
#include <limits>

namespace greenroom::cpu {
namespace {

// Writes the positions of the highest scores in rising order. `work` has room for n floats.
void choose(std::span<std::int32_t> chosen, const float* scores, std::int64_t n, float* work) noexcept {
    const auto top_k = static_cast<std::int64_t>(chosen.size());
    std::fill(chosen.begin(), chosen.end(), -1);
    std::int64_t n_equal = top_k;  // how many of those that score exactly `least` are taken
    float least = 0;
    if (n > top_k) {
        std::copy_n(scores, n, work);
        std::nth_element(work, work + top_k - 1, work + n, std::greater<>());
        least = work[top_k - 1];
        n_equal = top_k - std::count_if(scores, scores + n, [least](float s) { return s > least; });
    }
    auto next = chosen.begin();
    for (std::int64_t s = 0; s < n; ++s)
        if (n <= top_k || scores[s] > least || (scores[s] == least && n_equal-- > 0))
            *next++ = static_cast<std::int32_t>(s);
}

// sums[s] ← sums[s] + Σ_j weights[j] · max(0, scores[j][s]), j < n, for the positions of a block.
using AddHeads = void (*)(float* sums, const float* scores, const float* weights, std::int64_t n) noexcept;

void add_heads_scalar(float* sums, const float* scores, const float* weights, std::int64_t n) noexcept {
    for (std::int64_t j = 0; j < n; ++j, scores += kBlockPositions)
        for (int s = 0; s < kBlockPositions; ++s) sums[s] += weights[j] * std::max(0.0F, scores[s]);
}

GR_AVX2 void add_heads_avx2(float* sums, const float* scores, const float* weights, std::int64_t n) noexcept {
    constexpr int kVectors = kBlockPositions / 8;
    __m256 all[kVectors];
    GR_UNROLL
    for (int v = 0; v < kVectors; ++v) all[v] = _mm256_loadu_ps(sums + 8 * v);
    for (std::int64_t j = 0; j < n; ++j, scores += kBlockPositions) {
        const __m256 weight = _mm256_set1_ps(weights[j]);
        GR_UNROLL
        for (int v = 0; v < kVectors; ++v)  // of a NaN and 0, max gives what comes second
            all[v] = _mm256_fmadd_ps(
                weight, _mm256_max_ps(_mm256_loadu_ps(scores + 8 * v), _mm256_setzero_ps()), all[v]);
    }
    GR_UNROLL
    for (int v = 0; v < kVectors; ++v) _mm256_storeu_ps(sums + 8 * v, all[v]);
}

// What a thread works in.
struct Memory {
    TileMemory tile;
    ActivationBlock* queries;  // as integers
    float* scores;             // of all positions, in whole blocks
    float* work;               // as many

    Memory(float* memory, std::int64_t max_positions, std::int64_t head_dim) noexcept
        : tile(memory, head_dim),
          queries(reinterpret_cast<ActivationBlock*>(memory + TileMemory::floats(head_dim))),
          scores(reinterpret_cast<float*>(queries + kTileQueries * activation_blocks(head_dim))),
          work(scores + rounded(max_positions)) {}

    static std::int64_t floats(std::int64_t max_positions, std::int64_t head_dim) noexcept {
        constexpr auto kBlockFloats = static_cast<std::int64_t>(sizeof(ActivationBlock) / sizeof(float));
        return TileMemory::floats(head_dim) + kTileQueries * activation_blocks(head_dim) * kBlockFloats +
               2 * rounded(max_positions);
    }

  private:
    static std::int64_t rounded(std::int64_t n_positions) noexcept {
        return (n_positions + kBlockPositions - 1) / kBlockPositions * kBlockPositions;
    }
};

// A token's heads, which see the first n positions.
struct Token {
    const float* query;
    const float* weights;
    std::int64_t n_heads;
    std::int64_t n;

    std::int64_t n_blocks() const noexcept { return (n + kBlockPositions - 1) / kBlockPositions; }
};

// scores[s] of the positions in blocks [begin, end), which need room for whole blocks.
void score_positions(float* scores, const Token& token, const KvRows& keys, std::int64_t begin,
                     std::int64_t end, const Memory& memory) noexcept {
    const Kernels& k = kernels();
    const AttentionKernels& attention = attention_kernels(k.isa);
    const AddHeads add_heads = k.isa == Isa::scalar ? add_heads_scalar : add_heads_avx2;
    const std::int64_t head_dim = keys.n_values;
    std::fill(scores + begin * kBlockPositions, scores + end * kBlockPositions, 0.0F);
    for (std::int64_t head = 0; head < token.n_heads; head += kTileQueries) {
        std::array<Query, kTileQueries> queries;
        Tile tile{HeadRows(keys, 0, head_dim),
                  HeadRows(),
                  false,
                  nullptr,
                  static_cast<int>(std::min<std::int64_t>(kTileQueries, token.n_heads - head)),
                  queries.data()};
        for (int j = 0; j < tile.n_queries; ++j)
            queries[static_cast<std::size_t>(j)].values = token.query + (head + j) * head_dim;
        if (tile.keys.quant() != nullptr) {
            for (int j = 0; j < tile.n_queries; ++j)
                k.quantize_row(memory.queries + j * tile.blocks_per_query(),
                               queries[static_cast<std::size_t>(j)].values, head_dim);
            tile.blocks = memory.queries;
        }
        for (std::int64_t b = begin; b < end; ++b) {
            const std::int64_t block = b * kBlockPositions;
            LinesAhead ahead;
            if (b + 1 < end)
                tile.keys.add_lines(nullptr, block + kBlockPositions,
                                    std::min(block + 2 * kBlockPositions, token.n), ahead);
            score_block(attention, tile, block,
                        {0, static_cast<int>(std::min<std::int64_t>(kBlockPositions, token.n - block))},
                        memory.tile, ahead);
            add_heads(scores + block, memory.tile.scores, token.weights + head, tile.n_queries);
        }
    }
    // A NaN (broken weights) has no place in an order.
    std::replace_if(
        scores + begin * kBlockPositions, scores + end * kBlockPositions,
        [](float s) { return std::isnan(s); }, -std::numeric_limits<float>::infinity());
}

}  // namespace

std::int64_t indexer_scratch_floats(std::int64_t max_positions, std::int64_t head_dim) noexcept {
    return Memory::floats(max_positions, head_dim);
}

void index_positions(ThreadTeam& team, const Scratch& scratch, std::span<std::int32_t> visible,
                     ConstMatrixView q, ConstMatrixView weights, const KvRows& keys,
                     std::int64_t first_position, std::int64_t top_k) {
    assert(q.n_cols == weights.n_cols * keys.n_values &&
           static_cast<std::int64_t>(visible.size()) == q.n_rows * top_k);
    const std::int64_t most = first_position + q.n_rows;
    const auto memory_of = [&](int thread) noexcept {
        return Memory(scratch.of(thread), most, keys.n_values);
    };
    const auto token_of = [&](std::int64_t t) noexcept {
        return Token{q.row(t), weights.row(t), weights.n_cols, first_position + t + 1};
    };
    const auto choose_for = [&](std::int64_t t, const Memory& memory) noexcept {
        choose(visible.subspan(static_cast<std::size_t>(t * top_k), static_cast<std::size_t>(top_k)),
               memory.scores, token_of(t).n, memory.work);
    };
    if (q.n_rows >= team.n_active()) {
        team.parallel_for(q.n_rows, 1, [&](std::int64_t first, std::int64_t last, int thread) noexcept {
            const Memory memory = memory_of(thread);
            for (std::int64_t t = first; t < last; ++t) {
                score_positions(memory.scores, token_of(t), keys, 0, token_of(t).n_blocks(), memory);
                choose_for(t, memory);
            }
        });
        return;
    }
    // Of few tokens the positions are shared out.
    const Memory shared = memory_of(0);
    for (std::int64_t t = 0; t < q.n_rows; ++t) {
        const Token token = token_of(t);
        share_out(team, token.n_blocks(), 4, [&](std::int64_t first, std::int64_t last, int thread) noexcept {
            score_positions(shared.scores, token, keys, first, last, memory_of(thread));
        });
        choose_for(t, shared);
    }
}

}  // namespace greenroom::cpu
